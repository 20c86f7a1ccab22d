"""Terminal output of samples."""

from __future__ import annotations

from collections.abc import Sequence

from ..console import rule, say
from ..stages import Sampler

MUCH_CLIPPED = 0.01
"""Clipped probability per position above which the sampled distribution differs noticeably from the model's."""


def report_samples(texts: Sequence[str], sampler: Sampler) -> None:
    """Print samples and the statistics of the sampler."""
    for index, text in enumerate(texts):
        rule(f"sample {index}")
        say(text)
    calls, clipped, reused = sampler.stats.calls, sampler.stats.clipped_per_position, sampler.stats.reused
    rule("")
    cached = f" ({reused} sequences in them were cached)" if reused else ""
    say(
        f"{calls} network calls{cached}; probability clipped: {clipped:.2g} per drawn position "
        f"({type(sampler).__name__}){': the steps are too long, use more steps' if clipped > MUCH_CLIPPED else ''}"
    )


def before_end(tokens: list[int], end: int | None) -> list[int]:
    """The tokens before the first `end`; all tokens if it is None or does not occur."""
    return tokens[: tokens.index(end)] if end in tokens else tokens
