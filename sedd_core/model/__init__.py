"""The model as samplers and evaluators call it: a backbone, read as log-scores."""

from .ema import EMA
from .score import ScoreHead, ScoreModel

__all__ = ["EMA", "ScoreHead", "ScoreModel"]
