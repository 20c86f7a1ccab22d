"""Report of the likelihood bound and its references, in the terminal and in files."""

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
    """Units in which a bound is reported.

    Args:
        bound: Likelihood bound.
        conditioned_on: What the bound is conditioned on, such as "lengths", which becomes part of the unit; "" for
            nothing.

    Returns:
        (name of the unit, number of tokens or characters of each sequence, nats per unit); characters only for
        data that has them.
    """
    condition = f" given {conditioned_on}" if conditioned_on else ""
    units = [(f"nats/token{condition}", bound.tokens, 1.0), (f"bits/character{condition}", bound.characters, LN2)]
    return [unit for unit in units if unit[1].any()]


def bound_figures(name: str, bound: Bound, conditioned_on: str = "") -> list[Figure]:
    """Figures of the bound: nats per token and bits per character.

    Args:
        name: Name of the data set.
        bound: Likelihood bound.
        conditioned_on: As in `units_of`.
    """
    figures = []
    for unit, counts, nats in units_of(bound, conditioned_on):
        value, error = (part / nats for part in bound.per(counts))
        figures.append(Figure("bound", value, unit, finite(error), set=name, n=len(bound.nats)))
    return figures


def report_bound(name: str, bound: Bound, ends: Sequence[float], conditioned_on: str = "") -> str:
    """Print the bound and each of its terms.

    Args:
        name: Name of the data set.
        bound: Likelihood bound.
        ends: Smallest and largest sigma of the integral.
        conditioned_on: As in `units_of`.

    Returns:
        The printed text, for validation.txt.
    """
    units, rows, intervals = units_of(bound, conditioned_on), [["term"]], []
    rows += [[term] for term in (*bound.terms._fields, "bound")]
    for unit, counts, scale in units:
        pairs = [bound.per(counts, nats) for nats in (*bound.terms, bound.nats)]
        column = [unit, *(f"{value / scale:.4f} ± {error / scale:.4f}" for value, error in pairs)]
        rows = [[*row, cell] for row, cell in zip(rows, column, strict=True)]
        low, high = (end / scale for end in bound.interval(counts))
        intervals.append(f"[{low:.4f}, {high:.4f}] {unit}")
    condition = f" given {conditioned_on}" if conditioned_on else ""
    heading = (
        f"Likelihood bound{condition} of {len(bound.nats)} sequences of {name}, averaged weights, sigma from "
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


def characters(codec: Codec, batch: Batch) -> torch.Tensor:
    """Number of characters of each sequence [B], without padding.

    Args:
        codec: Tokenizer of the batch.
        batch: Sequences.
    """
    pairs = zip(batch.tokens.cpu(), batch.full_text_mask().cpu(), strict=True)
    return torch.tensor([codec.characters(tokens[is_text].tolist()) for tokens, is_text in pairs])
