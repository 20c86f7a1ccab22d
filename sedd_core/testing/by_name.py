"""The conformance check of a plugin's stage, with partners of other stages that are installed here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..registry.installed import variants
from ..registry.plugins import plugin
from ..registry.table import LATE_BOUND, contracts
from .conformance import check_graph, check_head, check_noise
from .data_checks import check_data
from .evaluator_checks import check_evaluator
from .format_checks import check_format
from .model_checks import check_model
from .monitor_checks import check_monitor
from .objective_checks import check_objective
from .sampler_checks import check_sampler

STATES = 4
"""Number of tokens of the graphs, small enough to compute all pairs of states."""


def check_plugin(
    name: str | type, *, examples: Sequence[Path] = (), partners: Mapping[str, str] | None = None, **settings: Any
) -> None:
    """Check a plugin by the check of its stage: `check_plugin("graph_ring")`.

    Args:
        name: Name of an installed plugin, or its class.
        examples: Checkpoints that a format reads; other stages need none.
        partners: Plugins of other stages that take part, such as `{"graph": "graph_ring"}`; by default the first
            installed ones that suit.
        settings: Arguments of the plugin's constructor.

    Raises:
        AssertionError: A property does not hold.
        UserError: The plugin cannot be used, or lacks an argument or an example.
    """
    cls = plugin(name) if isinstance(name, str) else name
    stage = stage_of_class(cls)
    build = partial(cls, **settings)
    _require(build, stage)
    CHECKS[stage](build, _Partners(partners or {}), examples)


def stage_of_class(cls: type) -> str:
    """Name of the stage whose contract a class implements.

    Raises:
        UserError: It implements none.
    """
    found = [stage for stage, contract in contracts().items() if issubclass(cls, contract)]
    if not found:
        known = ", ".join(contract.__name__ for contract in contracts().values())
        raise UserError(f"{cls.__name__} is not a plugin's class: it must be a subclass of one of {known}.")
    return found[0]


class _Partners:
    """Objects of other stages that a check needs.

    Args:
        names: Names of plugins by stage, in place of the first installed ones.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def all(self, stage: str) -> Iterator[Any]:
        """Every object of a stage that can be built without further arguments: of the named plugin, or of all."""
        named = self._names.get(stage)
        found = False
        for name in [named] if named else [f"{stage}_{variant}" for variant in variants(stage)]:
            arguments = dict.fromkeys(LATE_BOUND.get(stage, ()), STATES)
            try:
                one = plugin(name)(**arguments)
            except Exception:
                if named:
                    raise
                continue  # broken, or it needs arguments: another one takes part
            found = True
            yield one
        if not found:
            raise UserError(f"The check needs a plugin of the stage {stage}: install one.")

    def one(self, stage: str) -> Any:
        """The first object of a stage."""
        return next(self.all(stage))

    def graph_for(self, sampler: Any) -> Any:
        """The first graph that a sampler supports."""
        reasons = []
        for graph in self.all("graph"):
            reason = sampler.incompatibility(graph)
            if reason is None:
                return graph
            reasons.append(f"{type(graph).__name__}: {reason}")
        raise UserError(f"{type(sampler).__name__} supports no graph that is installed ({'; '.join(reasons)}).")


Build = Callable[..., Any]
Check = Callable[[Build, _Partners, Sequence[Path]], None]


def _require(build: partial[Any], stage: str) -> None:
    """UserError for missing or unknown arguments of a constructor."""
    cls, late = build.func, LATE_BOUND.get(stage, ())
    parameters = inspect.signature(cls).parameters
    unknown = sorted(set(build.keywords) - set(parameters))
    if unknown:
        raise UserError(f"{cls.__name__} takes no '{unknown[0]}'; it takes: {', '.join(parameters) or 'nothing'}.")
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and name not in (*build.keywords, *late)
    ]
    if missing:
        raise UserError(f"{cls.__name__} needs its argument {missing[0]}: add {missing[0]}=...")


def _graph(build: Build, partners: _Partners, examples: Sequence[Path]) -> None:
    check_graph(build(vocab_size=STATES))


def _head(build: Build, partners: _Partners, examples: Sequence[Path]) -> None:
    for graph in partners.all("graph"):
        check_head(build(), graph)


def _objective(build: Build, partners: _Partners, examples: Sequence[Path]) -> None:
    check_objective(build(), *map(partners.one, ("graph", "head", "noise")))


def _sampler(build: Build, partners: _Partners, examples: Sequence[Path]) -> None:
    sampler = build()
    check_sampler(sampler, partners.graph_for(sampler), partners.one("noise"))


def _evaluator(build: Build, partners: _Partners, examples: Sequence[Path]) -> None:
    check_evaluator(build(), partners.one("graph"), partners.one("noise"))


def _format(build: Build, partners: _Partners, examples: Sequence[Path]) -> None:
    if not examples:
        raise UserError("A format is checked on checkpoints in its layout: name one or several, small ones.")
    check_format(build(), examples)


CHECKS: dict[str, Check] = {
    "noise": lambda build, partners, examples: check_noise(build()),
    "graph": _graph,
    "head": _head,
    "objective": _objective,
    "sampler": _sampler,
    "model": lambda build, partners, examples: check_model(build),
    "data": lambda build, partners, examples: check_data(build),
    "evaluator": _evaluator,
    "monitor": lambda build, partners, examples: check_monitor(build),
    "format": _format,
}
"""Check of each stage, given a function that builds the plugin, its partners, and examples of checkpoints."""
