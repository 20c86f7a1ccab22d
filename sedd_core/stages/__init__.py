"""The contracts: one abstract class per stage."""

from .backbone import Backbone, BlockBackbone, DocumentBackbone
from .data import Batch, Data, Documents, Sequences, Split
from .evaluator import EvalContext, EvalData, Evaluator
from .factorized import FactorizedSampler
from .format import Format
from .graph import Graph
from .head import Head
from .interpolating import InterpolatingGraph
from .monitor import Monitor
from .network import ScoreNetwork
from .noise import Noise, NoiseLevel
from .objective import DenoisingObjective, Objective
from .sampler import FixedTokens, Sampler
from .sampler_stats import SamplerStats
from .scores import ConditionalScoreFunction, LazyScores, ScoreFunction
from .step import EventWeights, Step, StepWeights

__all__ = [
    "Backbone",
    "Batch",
    "BlockBackbone",
    "ConditionalScoreFunction",
    "Data",
    "DenoisingObjective",
    "DocumentBackbone",
    "Documents",
    "EvalContext",
    "EvalData",
    "Evaluator",
    "EventWeights",
    "FactorizedSampler",
    "FixedTokens",
    "Format",
    "Graph",
    "Head",
    "InterpolatingGraph",
    "LazyScores",
    "Monitor",
    "Noise",
    "NoiseLevel",
    "Objective",
    "Sampler",
    "SamplerStats",
    "ScoreFunction",
    "ScoreNetwork",
    "Sequences",
    "Split",
    "Step",
    "StepWeights",
]
