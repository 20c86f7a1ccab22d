"""Report of the likelihood bound and its references, in the terminal and in files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from ..console import rule, say, table
from ..maths.numerics import LN2, student_t
from ..record.figures import Figure, finite
from ..stages import Batch, Sequences
from ..text.codec import Codec
from .ngrams import ngram_bits_per_character
from .result import Bound


class Unit(NamedTuple):
    """A unit in which a bound is reported."""

    name: str
    counts: Int64[Tensor, " B"]
    """Number of tokens, characters, bytes or sequences of each sequence."""
    nats: float
    """Nats per unit: 1, or ln 2 for bits."""
    exponential: bool = False
    """Whether the value is exp of nats per token: a perplexity."""

    def value(self, nats: float, error: float | None) -> tuple[float, float | None]:
        """A value in this unit and its standard error, from nats per count; of a perplexity to first order."""
        if self.exponential:
            perplexity = math.exp(nats) if nats < 700 else math.inf
            return perplexity, None if error is None else perplexity * error
        return nats / self.nats, None if error is None else error / self.nats


UNITS = ("nats/token", "bits/character", "bits/byte", "bits/token", "nats/sequence", "perplexity")
"""Names of all units."""
DEFAULT_UNITS = UNITS[:2]
"""Units of the figures in training."""


def units_of(bound: Bound, conditioned_on: str = "", names: Sequence[str] = DEFAULT_UNITS) -> list[Unit]:
    """Units in which a bound is reported; characters and bytes only for data that has them.

    Args:
        bound: Likelihood bound.
        conditioned_on: What the bound is conditioned on, such as "lengths", which becomes part of the unit; "" for
            nothing.
        names: Names of the units, of `UNITS`.
    """
    condition = f" given {conditioned_on}" if conditioned_on else ""
    nothing = torch.zeros_like(bound.tokens)
    counts = {
        "token": bound.tokens,
        "character": bound.characters,
        "byte": nothing if bound.bytes is None else bound.bytes,
        "sequence": torch.ones_like(bound.tokens),
    }
    found = []
    for name in names:
        measure, _, per = name.partition("/")
        unit = Unit(f"{name}{condition}", counts[per or "token"], LN2 if measure == "bits" else 1.0, not per)
        found += [unit] if unit.counts.any() else []
    return found


def bound_figures(
    name: str,
    bound: Bound,
    conditioned_on: str = "",
    names: Sequence[str] = DEFAULT_UNITS,
    protocol: str | None = None,
) -> list[Figure]:
    """Figures of the bound in some units.

    Args:
        name: Name of the data set.
        bound: Likelihood bound.
        conditioned_on: As in `units_of`.
        names: As in `units_of`.
        protocol: Description of the measurement.
    """
    figures = []
    for unit in units_of(bound, conditioned_on, names):
        value, error = unit.value(*bound.per(unit.counts))
        draws = unit.value(bound.per(unit.counts)[0], bound.draws_error(unit.counts))[1]
        figures.append(
            Figure("bound", value, unit.name, finite(error), name, len(bound.nats), protocol, draws_error=finite(draws))
        )
    return figures


def report_bound(
    name: str,
    bound: Bound,
    ends: Sequence[float],
    conditioned_on: str = "",
    left_out: Sequence[str] = (),
    description: str = "",
) -> str:
    """Print the bound and each of its terms, in all units, with standard errors over draws and over documents apart.

    Args:
        name: Name of the data set.
        bound: Likelihood bound.
        ends: Smallest and largest sigma of the integral.
        conditioned_on: As in `units_of`.
        left_out: Terms that are not part of the sum.
        description: What the points are, such as "16 points: log sigma, stratified over the points".

    Returns:
        The printed text, for validation.txt.
    """
    units, intervals = units_of(bound, conditioned_on, UNITS), []
    columns = [["term", *bound.terms._fields, "bound", "error over draws", "error over documents"]]
    for unit in units:
        cells = [
            "left out" if term in left_out else _cell(unit, bound, index)
            for index, term in enumerate(bound.terms._fields)
        ]
        columns.append([unit.name, *cells, _cell(unit, bound), *_apart(unit, bound)])
        low, high = (unit.value(end, None)[0] for end in bound.interval(unit.counts))
        intervals.append(f"[{low:.4f}, {high:.4f}] {unit.name}")
    rows = [list(row) for row in zip(*columns, strict=True)]
    condition = f" given {conditioned_on}" if conditioned_on else ""
    heading = (
        f"Likelihood bound{condition} of {len(bound.nats)} sequences of {name}, averaged weights, sigma from "
        f"{ends[0]:.2g} to {ends[1]:.3g}; ± one standard error"
    )
    notes = [f"95 % interval of the bound (Student's t, n = {len(bound.nats)}): {', '.join(intervals)}"]
    notes += [f"estimator: {description}"] if description else []
    notes += [_draws_note(bound)]
    rule(f"validation: {name}")
    say(heading)
    table(*rows[0], rows=rows[1:])
    for note in notes:
        say(note)
    return "\n".join([heading, *("\t".join(row) for row in rows), *notes, ""])


def _cell(unit: Unit, bound: Bound, term: int | None = None) -> str:
    """A term, or the bound, with its standard error; empty for the perplexity of a term."""
    if unit.exponential and term is not None:
        return ""
    value, error = unit.value(*bound.per(unit.counts, None if term is None else bound.terms[term]))
    return f"{value:.4f} ± {error:.4f}"


def _apart(unit: Unit, bound: Bound) -> tuple[str, str]:
    """The parts of the bound's standard error that are due to draws and to documents."""
    nats, total = bound.per(unit.counts)
    draws = bound.draws_error(unit.counts)
    if draws is None:
        return "unknown", "unknown"
    documents = math.sqrt(max(total**2 - draws**2, 0.0))
    return f"{unit.value(nats, draws)[1]:.4f}", f"{unit.value(nats, documents)[1]:.4f}"


def _draws_note(bound: Bound) -> str:
    """What the draws' variance is, and what 1000 repeats would leave of it."""
    draws, repeats = bound.draws_error(bound.tokens), 0 if bound.by_repeat is None else len(bound.by_repeat)
    if draws is None:
        return "error over draws: unknown with one repeat (set repeats to 2 or more)"
    one = draws * math.sqrt(repeats)
    half = student_t(0.95, repeats - 1) * draws
    return (
        f"error over draws ({repeats} repeats, on these sequences): 95 % within ± {half:.5f} nats/token (Student's t); "
        f"one repeat has a standard deviation of {one:.5f} (variance {one**2:.3g}), 1000 would leave "
        f"± {one / math.sqrt(1000):.2g}"
    )


def report_references(codec: Codec, train: Sequences, valid: Sequences, count: int) -> None:
    """Print the bits per character of n-gram models of the training split on the sequences of the bound.

    Args:
        codec: Tokenizer of both splits.
        train: Training split.
        valid: Validation split.
        count: Number of validation sequences.
    """
    train_text = "".join(texts_of(codec, train, torch.arange(len(train))))
    texts = texts_of(codec, valid, valid.spread(count))
    if codec.of_ids:
        say("The data is token ids without characters: no n-gram references.")
        return
    rows = [
        [f"character {order + 1}-gram", f"{ngram_bits_per_character(train_text, texts, order):.4f}"]
        for order in range(3)
    ]
    say("For reference: character n-gram models of the same training text, on the same sequences:")
    table("model", "bits/character", rows=rows)


def texts_of(codec: Codec, sequences: Sequences, indices: Int64[Tensor, " n"]) -> list[str]:
    """Texts of sequences, without padding, as `Codec.characters` counts them.

    Args:
        codec: Tokenizer of the sequences.
        sequences: A split of the data.
        indices: Indices of the sequences [n].
    """
    batch = sequences.batch(indices)
    return [
        codec.text(tokens[is_text].tolist())
        for tokens, is_text in zip(batch.tokens, batch.full_text_mask(), strict=True)
    ]


def text_sizes(codec: Codec, batch: Batch) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
    """Numbers of characters [B] and of UTF-8 bytes [B] of each sequence, without padding; 0 for data of ids.

    Args:
        codec: Tokenizer of the batch.
        batch: Sequences.
    """
    pairs = zip(batch.tokens.cpu(), batch.full_text_mask().cpu(), strict=True)
    rows = [tokens[is_text].tolist() for tokens, is_text in pairs]
    sizes = [(codec.characters(row), 0 if codec.of_ids else codec.bytes(row)) for row in rows]
    return tuple(torch.tensor(part) for part in zip(*sizes, strict=True))  # pyright: ignore[reportReturnType]
