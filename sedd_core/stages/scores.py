"""Score functions: the model as samplers see it, for all selected positions at once or for some of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .noise import NoiseLevel


@runtime_checkable
class ScoreFunction(Protocol):
    """The model as samplers see it: log-scores at a noise level. Guidance or caching wrap it."""

    def __call__(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "... S"]:
        """Compute the log-scores of all states; 0 at the current state.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            positions: Positions [B, L] to compute scores at; None: all.

        Returns:
            Log-scores [B, L, S], or [N, S] at the N selected positions.
        """
        ...


@runtime_checkable
class LazyScores(Protocol):
    """Log-scores at N positions, computed for some of these rows when they are needed."""

    @property
    def rows(self) -> Int64[Tensor, " N"]:
        """The positions, counted along the flattened batch."""
        ...

    def log_score(self, part: slice | Int64[Tensor, " M"]) -> Float[Tensor, "M S"]:
        """Log-scores [M, S] of some rows, up to one additive constant per row; the caller may overwrite them."""
        ...

    def others(self) -> Float64[Tensor, " N"] | None:
        """Total scores [N] of all states but the current one, if they are known without the network's logits."""
        ...


@runtime_checkable
class LazyScoreFunction(ScoreFunction, Protocol):
    """A score function that can wait, because samplers may need the logits of few positions, or none."""

    def lazy(self, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"]) -> LazyScores:
        """The log-scores at those of the selected positions that can change. Args: see `ScoreFunction`."""
        ...


@runtime_checkable
class ConditionalScoreFunction(ScoreFunction, Protocol):
    """A score function under a condition, which is also known without it: what classifier-free guidance needs."""

    def unconditional(self) -> ScoreFunction:
        """The score function without the condition.

        Raises:
            UserError: There is no condition, or the network needs one.
        """
        ...


@dataclass(frozen=True)
class _AtOnce:
    """Log-scores of a function that computes those of all positions at once, when the first are needed."""

    rows: Int64[Tensor, " N"]
    compute: Callable[[], Float[Tensor, "N S"]]

    @cached_property
    def _values(self) -> Float[Tensor, "N S"]:
        return self.compute()

    def log_score(self, part: slice | Int64[Tensor, " M"]) -> Float[Tensor, "M S"]:
        return self._values[part].clone()

    def others(self) -> None:
        return None


def lazy_scores(
    score_fn: ScoreFunction, x: Int64[Tensor, "B L"], level: NoiseLevel, positions: Bool[Tensor, "B L"]
) -> LazyScores:
    """The log-scores at selected positions, lazily if the score function can.

    Args:
        score_fn: The score function.
        x: States [B, L].
        level: Noise level [B] or [B, L].
        positions: Positions [B, L] to select.
    """
    if isinstance(score_fn, LazyScoreFunction):
        return score_fn.lazy(x, level, positions)
    return _AtOnce(positions.flatten().nonzero()[:, 0], lambda: score_fn(x, level, positions))
