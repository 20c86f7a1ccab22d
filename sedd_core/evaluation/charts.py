"""Names of figures in charts, and the figures of several evaluators side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..maths.numerics import LN2
from ..record.figures import Figure

BOUND = "bound"
"""Name of the figure that charts and log lines leave out: the likelihood bound."""


def chart_unit(figure: Figure) -> str:
    """The unit of a figure, without the condition that the name of its set states."""
    return figure.unit.partition(" given ")[0]


def charts(figures: Sequence[Figure]) -> dict[str, float]:
    """Values by chart name, `valid_<set>/<name>_<unit>`; of nats per token also the perplexity and bits.

    Args:
        figures: Figures of one set.
    """
    found: dict[str, float] = {}
    for figure in figures:
        prefix, name = _prefix(figure), chart_name(figure)
        found[name] = figure.value
        if figure.standard_error is not None:
            found[f"{name}_error"] = figure.standard_error
        if chart_unit(figure) == "nats/token":
            found.setdefault(f"{prefix}perplexity", float(torch.tensor(figure.value).exp()))
            found.setdefault(f"{prefix}bits_per_token", figure.value / LN2)
    return found


def _prefix(figure: Figure) -> str:
    group = "valid" if figure.set is None else f"valid_{figure.set}"
    return f"{group}/" if figure.name == BOUND else f"{group}/{figure.name}_"


def chart_name(figure: Figure) -> str:
    """The name of a figure's own chart."""
    return (_prefix(figure) + chart_unit(figure).replace("/", "_per_").replace(" ", "_")).rstrip("_")


def check_distinct(figures: Sequence[Figure]) -> None:
    """Check that figures of an evaluator are numbers, each with a chart of its own.

    Raises:
        TypeError: A value or a standard error is not a float.
        ValueError: Two figures share a chart.
    """
    taken: set[str] = set()
    for figure in figures:
        for number in (figure.value, 0.0 if figure.standard_error is None else figure.standard_error):
            if not isinstance(number, float | int):
                raise TypeError(f"{figure.title} is a {type(number).__name__}, not a float")
        name = chart_name(figure)
        if name in taken:
            raise ValueError(f"it returns two figures {figure.title} of {figure.set}: give them different names")
        taken.add(name)


def numbered(figures: Sequence[Figure], others: Sequence[Figure]) -> list[Figure]:
    """An evaluator's figures; the name of one whose chart an earlier evaluator has gets a number.

    Args:
        figures: Figures of the evaluator.
        others: Figures of the evaluators before it.
    """
    taken, named = set(charts(others)), []
    for figure in figures:
        candidate, number = figure, 1
        while taken & set(charts([candidate])):
            number += 1
            candidate = replace(figure, name=f"{figure.name}_{number}")
        named.append(candidate)
        taken.add(chart_name(candidate))
    return named


def by_set(figures: Sequence[Figure]) -> list[list[Figure]]:
    """Figures in groups of one set, number of sequences and protocol, in order."""
    groups: dict[tuple[str | None, int | None, str | None], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.set, figure.n, figure.protocol), []).append(figure)
    return list(groups.values())
