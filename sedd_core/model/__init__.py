"""The score model that samplers and evaluators call, and its moving average."""

from .ema import EMA
from .entropy import slower_loss
from .score import ScoreModel

__all__ = ["EMA", "ScoreModel", "slower_loss"]
