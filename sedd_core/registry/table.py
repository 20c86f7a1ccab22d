"""The stages of a run, one line each. A new stage is a line here and a contract.

From this table follow the hook specifications, the stages' names on the command line, the checks of plugins, and
which arguments a run binds late. Contracts are named by import path: listing plugins imports no torch.
"""

from __future__ import annotations

from functools import cache
from pkgutil import resolve_name
from typing import NamedTuple


class Stage(NamedTuple):
    """A stage of a run.

    Args:
        contract: Import path of the abstract class that the stage's plugins subclass.
        about: What a plugin of the stage provides.
        late: Arguments of its plugins that a run binds once the data is known.
    """

    contract: str
    about: str
    late: tuple[str, ...] = ()


STAGES: dict[str, Stage] = {
    "noise": Stage("sedd_core.stages.noise:Noise", "noise schedule"),
    "graph": Stage("sedd_core.stages.graph:Graph", "forward process", late=("vocab_size",)),
    "sampler": Stage("sedd_core.stages.sampler:Sampler", "sampler"),
    "model": Stage("sedd_core.stages.backbone:Backbone", "backbone", late=("num_states",)),
    "data": Stage("sedd_core.stages.data:Data", "data source"),
    "monitor": Stage("sedd_core.stages.monitor:Monitor", "monitor"),
}
"""The stages, by the first word of their plugins' names."""
LATE_BOUND = {name: stage.late for name, stage in STAGES.items() if stage.late}
"""The stages with arguments that a run binds late, and these arguments."""


@cache
def contracts() -> dict[str, type]:
    """The contract of each stage. Importing them imports torch."""
    return {name: resolve_name(stage.contract) for name, stage in STAGES.items()}
