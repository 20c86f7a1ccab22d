"""The likelihood bound and its references on the terminal and in files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from ..console import rule, say, table
from ..maths.numerics import LN2
from ..record.figures import Figure, finite
from ..stages import Batch, Sequences
from ..text.codec import Codec
from .bound import Bound
from .ngrams import ngram_bits_per_character


def units_of(bound: Bound, conditioned_on: str = "") -> list[tuple[str, Tensor, float]]:
    """Units of the bound, how many of them each sequence has, and nats in each; no characters where there are none.

    conditioned_on: what the bound is given, such as "lengths"; units say so.
    """
    given = f" given {conditioned_on}" if conditioned_on else ""
    units = [(f"nats/token{given}", bound.tokens, 1.0), (f"bits/character{given}", bound.characters, LN2)]
    return [unit for unit in units if unit[1].any()]


def bound_figures(name: str, bound: Bound, conditioned_on: str = "") -> list[Figure]:
    """The bound of the set of a name, per token and per character."""
    figures = []
    for unit, counts, nats in units_of(bound, conditioned_on):
        value, error = (part / nats for part in bound.per(counts))
        figures.append(Figure("bound", value, unit, finite(error), set=name, n=len(bound.nats)))
    return figures


def report_bound(name: str, bound: Bound, ends: Sequence[float], conditioned_on: str = "") -> str:
    """Print the bound and each of its terms. Returns the same for validation.txt."""
    units, rows, intervals = units_of(bound, conditioned_on), [["term"]], []
    rows += [[term] for term in (*bound.terms._fields, "bound")]
    for unit, counts, scale in units:
        pairs = [bound.per(counts, nats) for nats in (*bound.terms, bound.nats)]
        column = [unit, *(f"{value / scale:.4f} ± {error / scale:.4f}" for value, error in pairs)]
        rows = [[*row, cell] for row, cell in zip(rows, column, strict=True)]
        low, high = (end / scale for end in bound.interval(counts))
        intervals.append(f"[{low:.4f}, {high:.4f}] {unit}")
    given = f" given {conditioned_on}" if conditioned_on else ""
    heading = (
        f"Likelihood bound{given} of {len(bound.nats)} sequences of {name}, averaged weights, sigma from "
        f"{ends[0]:.2g} to {ends[1]:.3g}; ± one standard error"
    )
    interval = f"95 % interval of the bound (Student's t, n = {len(bound.nats)}): {', '.join(intervals)}"
    rule(f"validation: {name}")
    say(heading)
    table(*rows[0], rows=rows[1:])
    say(interval)
    text = "\n".join("\t".join(row) for row in rows)
    return f"{heading}\n{text}\n{interval}\n"


def report_references(codec: Codec, train: Sequences, valid: Sequences, count: int) -> None:
    """Print what character n-grams of the training split reach on the `count` validation sequences of the bound."""
    seen = "".join(texts_of(codec, train, torch.arange(len(train))))
    texts = texts_of(codec, valid, valid.spread(count))
    if codec.of_ids:
        say("Token ids have no characters: there are no n-gram references.")
        return
    rows = [
        [f"{order + 1}-gram of characters", f"{ngram_bits_per_character(seen, texts, order):.4f}"]
        for order in range(3)
    ]
    say("For reference, on the same sequences, from the same training text:")
    table("model", "bits/character", rows=rows)


def texts_of(codec: Codec, sequences: Sequences, indices: Int64[Tensor, " n"]) -> list[str]:
    """The text of each sequence, without padding, as `Codec.characters` counts it."""
    batch = sequences.batch(indices)
    return [codec.text(row[kept].tolist()) for row, kept in zip(batch.tokens, batch.full_text_mask(), strict=True)]


def characters(codec: Codec, batch: Batch) -> torch.Tensor:
    """Characters of each sequence [B], without padding."""
    rows = zip(batch.tokens.cpu(), batch.full_text_mask().cpu(), strict=True)
    return torch.tensor([codec.characters(row[kept].tolist()) for row, kept in rows])
