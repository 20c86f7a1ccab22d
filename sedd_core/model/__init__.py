"""The score model that samplers and evaluators call, and its moving average."""

from .ema import EMA
from .score import ScoreModel

__all__ = ["EMA", "ScoreModel"]
