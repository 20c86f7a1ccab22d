"""What can be run: training, sampling."""

from .run import Run
from .sample import Sample
from .train import Train

__all__ = ["Run", "Sample", "Train"]
