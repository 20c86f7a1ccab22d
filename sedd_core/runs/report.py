"""What a training run says of its result."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from ..bound import Bound
from ..codec import Codec
from ..console import rule, say, table
from ..numerics import LN2
from ..references import ngram_bits_per_character
from ..stages import Sampler, Sequences
from .figures import Figure, finite

MUCH_CLIPPED = 0.01
"""Of probability one: above it samples are another law's."""


def units_of(conditioned_on: str) -> tuple[str, str]:
    """Units of the bound; of one that is given something, such as "lengths", they say so."""
    given = f" given {conditioned_on}" if conditioned_on else ""
    return f"nats/token{given}", f"bits/character{given}"


def bound_figures(name: str, bound: Bound, conditioned_on: str = "") -> list[Figure]:
    """The bound of the set of a name, per token and per character."""
    per_unit = zip(units_of(conditioned_on), (bound.per(bound.tokens), bound.bits_per_character), strict=True)
    return [
        Figure("bound", value, unit, finite(error), set=name, n=len(bound.nats)) for unit, (value, error) in per_unit
    ]


def report_bound(name: str, bound: Bound, ends: Sequence[float], conditioned_on: str = "") -> str:
    """Print the bound and each of its terms. Returns the same for validation.txt."""
    units, given = units_of(conditioned_on), f" given {conditioned_on}" if conditioned_on else ""
    rows = []
    for term, nats in [*bound.terms._asdict().items(), ("bound", bound.nats)]:
        (token, token_error), (character, error) = bound.per(bound.tokens, nats), bound.per(bound.characters, nats)
        in_bits = f"{character / LN2:.4f} ± {error / LN2:.4f}"
        rows.append([term, f"{token:.4f} ± {token_error:.4f}", in_bits])
    heading = (
        f"Likelihood bound{given} of {len(bound.nats)} sequences of {name}, averaged weights, sigma from "
        f"{ends[0]:.2g} to {ends[1]:.3g}; ± one standard error"
    )
    (low, high), bits = bound.interval(bound.tokens), [end / LN2 for end in bound.interval(bound.characters)]
    interval = (
        f"95 % interval of the bound (Student's t, n = {len(bound.nats)}): [{low:.4f}, {high:.4f}] {units[0]}, "
        f"[{bits[0]:.4f}, {bits[1]:.4f}] {units[1]}"
    )
    rule(f"validation: {name}")
    say(heading)
    table("term", *units, rows=rows)
    say(interval)
    text = "\n".join(["\t".join(row) for row in [["term", *units], *rows]])
    return f"{heading}\n{text}\n{interval}\n"


def report_references(codec: Codec, train: Sequences, valid: Sequences, count: int) -> None:
    """Print what character n-grams of the training split reach on the `count` validation sequences of the bound."""
    seen = "".join(texts_of(codec, train, torch.arange(len(train))))
    texts = texts_of(codec, valid, valid.spread(count))
    rows = [
        [f"{order + 1}-gram of characters", f"{ngram_bits_per_character(seen, texts, order):.4f}"]
        for order in range(3)
    ]
    say("For reference, on the same sequences, from the same training text:")
    table("model", "bits/character", rows=rows)


def report_samples(texts: Sequence[str], sampler: Sampler) -> None:
    """Print samples, and how they were drawn."""
    for index, text in enumerate(texts):
        rule(f"sample {index}")
        say(text)
    calls, clipped = sampler.counts.calls, sampler.counts.clipped_per_row
    rule("")
    say(
        f"{calls} network calls; probability clipped: {clipped:.2g} a drawn position ({type(sampler).__name__})"
        f"{': the steps are too long, take more of them' if clipped > MUCH_CLIPPED else ''}"
    )


def until(tokens: list[int], end: int | None) -> list[int]:
    """The tokens before the first `end`; all where it is None or not among them."""
    return tokens[: tokens.index(end)] if end in tokens else tokens


def texts_of(codec: Codec, sequences: Sequences, indices: Int64[Tensor, " n"]) -> list[str]:
    """The text of each sequence, without padding, as `Codec.characters` counts it."""
    batch = sequences.batch(indices)
    return [codec.text(row[kept].tolist()) for row, kept in zip(batch.tokens, batch.in_text(), strict=True)]
