"""Stages and settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..distributed.rank import process_rank
from ..stages import Backbone, Data, Evaluator, Graph, Head, Monitor, Noise, Objective, Sampler
from ..training.limits import check_at_least, check_seed, require
from ..training.settings import Checkpoints, Optimizer, Samples, Training
from .run import Run

STAND_IN = 64
"""Vocabulary size with which parts are inspected before the data is read."""


@dataclass(frozen=True, kw_only=True)
class TrainingParts(Run):
    """The stages and settings of a training run."""

    data: Data
    """Data to train and validate on."""
    noise: Noise
    """Noise schedule."""
    graph: partial[Graph]
    """Forward process; the run sets its vocabulary size, which the data determines."""
    model: partial[Backbone]
    """Network; the run sets its number of states, which the graph determines."""
    head: Head
    """Meaning of the network's logits, as log-scores."""
    objective: Objective
    """Loss whose gradient trains the network."""
    sampler: Sampler
    """Sampler of the samples drawn during and after training."""
    optimizer: Optimizer
    """Optimizer and its learning-rate schedule."""
    training: Training
    """Length, batches and numerics of training."""
    checkpoints: Checkpoints
    """When and how many checkpoints are saved."""
    evaluator: Evaluator
    """Evaluation on validation data; a table of runs is sorted by its first figure."""
    samples: Samples
    """Samples drawn during and after training."""
    evaluators: tuple[Evaluator, ...] = ()
    """Further evaluations, made after the first."""
    more_valid: tuple[Data, ...] = ()
    """Further data sets whose validation splits are evaluated too."""
    monitor: Monitor | None = None
    """Receiver of metrics and texts, such as TensorBoard; None: only the log."""
    monitors: tuple[Monitor, ...] = ()
    """Further receivers of the same metrics and texts."""
    ngpus: int | None = None
    """Number of processes, one per GPU; None: all GPUs of this machine, or one process on a CPU."""
    init_from: str | None = None
    """Run or checkpoint whose averaged weights training starts from; None: random weights."""
    init_format: str | None = None
    """Format to read init_from with, such as sedd; None: the one that matches."""
    seed: int = 0
    """Random seed of the run: data order, noise, dropout, samples."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_at_least(1, ngpus=self.ngpus)
        require(self.init_from is not None or self.init_format is None, "init_format is set, but init_from is not")

    def vocab_size(self) -> tuple[int, bool]:
        """Return (vocabulary size, whether it is known before reading the data); `STAND_IN` if unknown."""
        size = self.data.vocab_size() or self.graph.keywords.get("vocab_size")
        return (STAND_IN, False) if size is None else (size, True)

    def started_processes(self) -> int:
        """Number of processes: as started by torchrun or srun, or as the run is going to start."""
        return max(process_rank().world_size, self.processes())
