"""Training: settings, one step, the loop, evaluations and the log."""

from .settings import Checkpoints, Optimizer, Samples, Training

__all__ = ["Checkpoints", "Optimizer", "Samples", "Training"]
