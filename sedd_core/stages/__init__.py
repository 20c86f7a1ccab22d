"""The contracts: one abstract class a stage."""

from .backbone import Backbone
from .data import Batch, Data, PackedSequences, Sequences, Split
from .factorised import FactorisedSampler, Step
from .graph import Graph, Weights
from .interpolating import InterpolatingGraph
from .monitor import Monitor
from .noise import Noise, NoiseLevel
from .sampler import Counts, Given, Sampler, TimedScore

__all__ = [
    "Backbone",
    "Batch",
    "Counts",
    "Data",
    "FactorisedSampler",
    "Given",
    "Graph",
    "InterpolatingGraph",
    "Monitor",
    "Noise",
    "NoiseLevel",
    "PackedSequences",
    "Sampler",
    "Sequences",
    "Split",
    "Step",
    "TimedScore",
    "Weights",
]
