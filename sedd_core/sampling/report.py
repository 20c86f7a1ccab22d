"""Samples on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ..console import rule, say
from ..stages import Sampler

MUCH_CLIPPED = 0.01
"""Of probability one: above it samples are another law's."""


def report_samples(texts: Sequence[str], sampler: Sampler) -> None:
    """Print samples, and how they were drawn."""
    for index, text in enumerate(texts):
        rule(f"sample {index}")
        say(text)
    calls, clipped = sampler.stats.calls, sampler.stats.clipped_per_position
    rule("")
    say(
        f"{calls} network calls; probability clipped: {clipped:.2g} per drawn position ({type(sampler).__name__})"
        f"{': the steps are too long, take more of them' if clipped > MUCH_CLIPPED else ''}"
    )


def before_end(tokens: list[int], end: int | None) -> list[int]:
    """The tokens before the first `end`; all where it is None or not among them."""
    return tokens[: tokens.index(end)] if end in tokens else tokens
