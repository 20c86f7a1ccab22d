"""What can be run: training, sampling, evaluation."""

from .evaluate import Evaluate
from .run import Run
from .sample import Sample
from .train import Train

__all__ = ["Evaluate", "Run", "Sample", "Train"]
