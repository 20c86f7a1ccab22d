"""Figures of samples beside validation text, and their report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sedd_core.console import rule, say, table
from sedd_core.record import Figure

from .measures import DEFINITIONS, bootstrap, distinct, entropy, ratio, repetition
from .texts import Text

LOW_ENTROPY = 0.9
"""Share of the validation text's entropy below which samples are flagged: repetition makes any perplexity small."""
Measure = tuple[str, str, Callable[[Tensor], float], Tensor]
"""Name, unit, the figure as a function of rows of statistics, and these rows, one per text."""


def measures(texts: Sequence[Text], definitions: Sequence[str]) -> list[Measure]:
    """Everything that is measured of texts, as functions of rows that can be resampled.

    Args:
        texts: Texts with the judge's scores.
        definitions: Definitions of the perplexity.
    """
    found: list[Measure] = []
    for name in definitions:
        statistics, exponent, _ = DEFINITIONS[name]
        rows = statistics([one.scores for one in texts])
        found.append((f"perplexity_{name}", "per token", lambda r, e=exponent: ratio(r, exponent=e), rows))
    each = torch.tensor([(entropy(one.tokens), 1.0) for one in texts], dtype=torch.float64)
    found.append(("entropy", "nats/token", lambda r: ratio(r, exponent=False), each))
    repeated = torch.tensor([repetition(one.tokens) for one in texts], dtype=torch.float64)
    found.append(("repeated_4_grams", "share", lambda r: ratio(r, exponent=False), repeated))
    places = torch.arange(len(texts), dtype=torch.float64)[:, None]

    def chosen(rows: Tensor) -> list[list[int]]:
        return [texts[int(i)].tokens for i in rows[:, 0]]

    pooled = ("pooled_entropy", "nats/token", lambda r: entropy([t for row in chosen(r) for t in row]), places)
    return [
        *found,
        pooled,
        *((f"distinct_{n}", "share", lambda r, n=n: distinct(chosen(r), n), places) for n in (1, 2, 3)),
    ]


def figures_of(
    texts: Sequence[Text], definitions: Sequence[str], seed: int
) -> list[tuple[Figure, tuple[float, float]]]:
    """Figures with bootstrap errors, and the ends of their 95 % intervals.

    Args:
        texts: Texts with the judge's scores.
        definitions: Definitions of the perplexity.
        seed: Random seed of the resamples.
    """
    found = []
    for name, unit, statistic, rows in measures(texts, definitions):
        if not math.isfinite(statistic(rows)):  # texts without n-grams
            continue
        error, low, high = bootstrap(rows, statistic, seed)
        found.append((Figure(name, statistic(rows), unit, error, n=len(texts)), (low, high)))
    return found


def report(
    title: str,
    made: Sequence[tuple[Figure, tuple[float, float]]],
    real: Sequence[tuple[Figure, tuple[float, float]]],
    about: str,
) -> str:
    """Print the figures of samples beside those of validation text.

    Args:
        title: What was sampled, and how.
        made: Figures of the samples.
        real: Figures of validation text.
        about: What it cost, and by which judge.

    Returns:
        The printed text.
    """
    rule(f"samples: {title}")
    heading = (
        f"{made[0][0].n} samples beside {real[0][0].n} validation sequences; ± and 95 % interval by bootstrap. {about}"
    )
    say(heading)
    by_name = {figure.name: figure for figure, _ in real}
    rows = [
        [figure.name, figure.unit, str(figure), f"[{low:.4g}, {high:.4g}]", str(by_name.get(figure.name, ""))]
        for figure, (low, high) in made
    ]  # fmt: skip
    columns = ("measure", "unit", "samples", "interval", "validation text")
    table(*columns, rows=rows)
    lines = [heading, *("  ".join(row) for row in (list(columns), *rows)), *warnings(made, real)]
    for line in lines[len(rows) + 2 :]:
        say(line)
    return "\n".join([f"samples: {title}", *lines]) + "\n"


def warnings(
    made: Sequence[tuple[Figure, tuple[float, float]]], real: Sequence[tuple[Figure, tuple[float, float]]]
) -> list[str]:
    """What forbids to believe a perplexity."""
    own, truth = ({figure.name: figure.value for figure, _ in part} for part in (made, real))
    if math.isnan(own["entropy"]) or own["entropy"] >= LOW_ENTROPY * truth["entropy"]:
        return []
    return [
        f"Low entropy: {own['entropy']:.2f} nats in a sample, {truth['entropy']:.2f} in validation text. Repetition "
        "makes a perplexity small: do not compare it."
    ]
