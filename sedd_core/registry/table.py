"""Table of stages. A new stage needs one line here and a contract.

The table defines the hook specifications, the stages' names on the command line, the checks of plugins, and the
arguments that a run binds late. Contracts are given by import path, so that listing plugins does not import torch.
"""

from __future__ import annotations

from functools import cache
from pkgutil import resolve_name
from typing import NamedTuple


class Stage(NamedTuple):
    """A stage of a run."""

    contract: str
    """Import path of the abstract class that the stage's plugins subclass."""
    about: str
    """Component that a plugin of the stage provides."""
    late: tuple[str, ...] = ()
    """Arguments of the stage's plugins that a run binds once the data is known."""


STAGES: dict[str, Stage] = {
    "noise": Stage("sedd_core.stages.noise:Noise", "noise schedule"),
    "graph": Stage("sedd_core.stages.graph:Graph", "forward process", late=("vocab_size",)),
    "head": Stage("sedd_core.stages.head:Head", "head"),
    "objective": Stage("sedd_core.stages.objective:Objective", "training objective"),
    "sampler": Stage("sedd_core.stages.sampler:Sampler", "sampler"),
    "model": Stage("sedd_core.stages.backbone:Backbone", "backbone", late=("num_states",)),
    "data": Stage("sedd_core.stages.data:Data", "data source"),
    "evaluator": Stage("sedd_core.stages.evaluator:Evaluator", "evaluator"),
    "monitor": Stage("sedd_core.stages.monitor:Monitor", "monitor"),
    "format": Stage("sedd_core.stages.format:Format", "checkpoint format"),
}
"""Stages by name, which is the first word of their plugins' names."""
LATE_BOUND = {name: stage.late for name, stage in STAGES.items() if stage.late}
"""Arguments that a run binds late, by stage."""


@cache
def contracts() -> dict[str, type]:
    """Contract of each stage, by name; the call imports torch."""
    return {name: resolve_name(stage.contract) for name, stage in STAGES.items()}
