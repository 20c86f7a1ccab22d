"""Validation sets of a run, and the monitors that receive their figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..distributed.world import World
from ..errors import UserError
from ..stages import Data, Evaluator, Monitor, Sequences
from ..text.codec import Codec
from ..training.context import RunContext
from ..training.monitoring import FailSafeMonitors


def validation_sets(own: Codec, sources: Sequence[Data], whose: str, remedy: str) -> dict[str, Sequences]:
    """Validation sets by name, in order.

    Args:
        own: Tokenizer that all sets must share.
        sources: Data whose validation splits are taken.
        whose: Owner of that tokenizer, for messages.
        remedy: Advice on a tokenizer that differs, for messages.

    Raises:
        UserError: The tokenizer of a set differs.
    """
    sets: dict[str, Sequences] = {}
    for data in sources:
        difference = own.difference(data.codec())
        if difference:
            raise UserError(
                f"Validation set {data.title} and {whose} have different tokenizers ({difference}): {remedy}."
            )
        sequences = data.split("valid")
        given = f"_given_{sequences.conditioned_on}" if sequences.conditioned_on else ""
        name = f"{data.title}{given}"
        sets[name if name not in sets else f"{name}_{len(sets)}"] = sequences
    return sets


def evaluators_by_path(evaluator: Evaluator, further: Sequence[Evaluator]) -> dict[str, Evaluator]:
    """The evaluators of a run by their paths in it."""
    return {"evaluator": evaluator, **{f"evaluators[{index}]": one for index, one in enumerate(further)}}


def fail_safe_monitors(monitor: Monitor | None, further: Sequence[Monitor], world: World) -> Monitor | None:
    """The monitors in the main process; None in the others, and without a monitor."""
    monitors = [*([] if monitor is None else [monitor]), *further]
    return FailSafeMonitors(monitors) if monitors and world.main else None


@contextmanager
def monitored(context: RunContext, first: int) -> Iterator[None]:
    """Keep the monitor of a run open in this context.

    Args:
        context: Context of the run.
        first: Number of updates done at its start.
    """
    monitor, workspace = context.monitor, context.workspace
    if monitor is None:
        yield
        return
    monitor.start(workspace.folder, first)
    try:
        if workspace.config_text or not first:  # otherwise an earlier start wrote them
            monitor.text("config", workspace.settings(), first)
            monitor.text("command", workspace.record.command, first)
            monitor.flush()
        yield
    finally:
        monitor.close()
