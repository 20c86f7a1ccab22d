"""Training: one step, the loop around it, its settings and its log."""

from .settings import Checkpoints, Optimizer, Samples, Training, Validation

__all__ = ["Checkpoints", "Optimizer", "Samples", "Training", "Validation"]
