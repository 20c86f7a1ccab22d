"""Conformance check for evaluator plugins, on exact scores of pairs of tokens."""

from __future__ import annotations

import copy
import math
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from ..data.sequences import PackedSequences
from ..evaluation.charts import check_distinct
from ..model.score import ScoreModel
from ..record.figures import Figure
from ..stages import Batch, DocumentBackbone, EvalData, Evaluator, Graph, Head, Noise, NoiseLevel
from ..text.builtin import character_codec
from .distributions import random_joint
from .empirical import exact_pair_score

T = TypeVar("T")
ROUNDING = 1e-5
"""Largest relative difference of figures that other numbers of processes may cause: float32 sums in another order."""
ERRORS = 6.0
"""Largest difference of figures under two seeds, in standard errors of that difference."""
NUMBERS: dict[str, Any] = {"value": 0.0, "standard_error": None, "draws_error": None}
"""Numbers of a figure, with values that leave what else it states."""
SIZES = {"pairs": 25, "few": 3}
"""Number of pairs of each validation set; neither divides into two equal shares."""


class _ExactPairs(DocumentBackbone):
    """The exact log-scores of pairs of tokens as logits."""

    def __init__(self, graph: Graph, joint: Float64[Tensor, "V V"]) -> None:
        super().__init__()
        self._score = exact_pair_score(graph, joint)
        self._identity = nn.Linear(graph.num_states, graph.num_states, bias=False)
        nn.init.eye_(self._identity.weight)

    @property
    def head(self) -> nn.Linear:
        return self._identity

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None, documents: Any = None) -> Tensor:
        for name, value in (("cond", cond), ("documents", documents)):
            assert value is not None, f"the evaluator must hand Batch.{name} to the network in every call"
        return self._score(x, NoiseLevel.of_sigma(level.sigma.double())).clamp(-60, 60).float()


class _Labelled(PackedSequences):
    """Pairs of tokens, each with a condition and a document."""

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        return super().batch(indices)._replace(cond=indices, documents=torch.zeros(len(indices), 2).long())


class _AsTheyAre(Head):
    """Logits are log-scores."""

    def log_score(
        self, logits: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph
    ) -> Float[Tensor, "*shape S"]:
        return logits


class _OutOfStepError(AssertionError):
    """Simulated processes do different things."""


class _Exchange:
    """Values of simulated processes, which are threads. A process that ends or fails leaves no other waiting."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)
        self._values: list[tuple[str, Any]] = [("", None)] * size

    def all(self, rank: int, kind: str, value: Any) -> list[Any]:
        """The values of all processes, by rank; _OutOfStepError if they are not of one kind."""
        self._values[rank] = (kind, value)
        self._barrier.wait()
        found = list(self._values)
        self._barrier.wait()  # nobody writes before all have read
        if any(other != kind for other, _ in found):
            raise _OutOfStepError("every process must call context.gather equally often, in the same order")
        return [other for _, other in found]


@dataclass
class _Context:
    """The context of one of `size` simulated processes."""

    seed: int
    final: bool
    rank: int
    size: int
    exchange: _Exchange
    t_min: float = 1e-3
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def share(self, count: int) -> Int64[Tensor, " n"]:
        return torch.arange(min(self.rank, count), count, self.size)

    def gather(self, work: Callable[[], T]) -> list[T]:
        return self.exchange.all(self.rank, "gather", work())

    def track(self, items: Sequence[T], title: str) -> Iterator[T]:
        yield from items

    def report(self, text: str) -> None:
        assert isinstance(text, str), f"context.report takes a text, not {text!r}"

    def save(self, name: str, text: str) -> None:
        self.report(name + text)


def check_evaluator(evaluator: Evaluator, graph: Graph, noise: Noise) -> None:
    """Check an evaluator's figures, that they depend on the seed alone, and that the model stays as it is.

    The model has the exact scores of pairs of tokens; two processes are simulated by threads.

    Args:
        evaluator: The evaluator, with settings for few sequences of two tokens.
        graph: A forward process of at most 26 tokens.
        noise: The noise schedule.

    Raises:
        AssertionError: A property does not hold.
    """
    joint = random_joint(graph.vocab_size, 2, seed=2)
    model, data = ScoreModel(_ExactPairs(graph, joint), graph, _AsTheyAre()).eval(), _pairs(joint)
    before = _state_of(model)

    def figures(size: int = 1, seed: int = 0, final: bool = True) -> list[Figure]:
        each = [evaluator, *(copy.deepcopy(evaluator) for _ in range(size - 1))]
        first, *others = _in_processes(
            size, seed, final, lambda context: each[context.rank].evaluate(model, noise, data, context)
        )
        for other in others:
            _check_equal(other, first, 0.0, "every process must return the same figures")
        return first

    for size in (1, 2):
        _in_processes(size, 0, False, lambda context: evaluator.rehearse(model, noise, data, context))
    alone = figures()
    _check_form(alone)
    _check_equal(figures(), alone, 0.0, "a repetition must give the same figures")
    _check_equal(figures(final=False), alone, 0.0, "the figures must be those of the final evaluation")
    _check_equal(figures(size=2), alone, ROUNDING, "two processes must give the figures of one")
    for seed in (1, 2, 3):
        _check_seed(figures(seed=seed), alone)
    _check_unchanged(before, _state_of(model))


def _pairs(joint: Float64[Tensor, "V V"]) -> EvalData:
    """Pairs of tokens from a joint distribution, as data."""
    codec = character_codec(string.ascii_lowercase[: len(joint)], unknown=False)
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> _Labelled:
        index = torch.multinomial(joint.flatten(), count, replacement=True, generator=generator)
        return _Labelled(torch.stack([index // len(joint), index % len(joint)], 1).flatten(), 2)

    return EvalData(codec=codec, train=drawn(64), valid_sets={name: drawn(count) for name, count in SIZES.items()})


def _in_processes(size: int, seed: int, final: bool, work: Callable[[_Context], T]) -> list[T]:
    """Results of `work` in simulated processes, by rank. The first error of one is raised."""
    exchange = _Exchange(size)

    def run(rank: int) -> tuple[T | None, Exception | None]:
        result, failure = None, None
        try:
            with torch.no_grad():
                result = work(_Context(seed, final, rank, size, exchange))
        except _OutOfStepError as error:
            return None, error
        except Exception as error:
            failure = error
        try:
            exchange.all(rank, "failure" if failure else "end", None)
        except _OutOfStepError as error:
            return None, failure or error
        return result, failure

    with ThreadPoolExecutor(size) as pool:
        results = list(pool.map(run, range(size)))
    errors = [error for _, error in results if error is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, _OutOfStepError)):
        raise error
    return [cast(T, result) for result, _ in results]


def _check_form(figures: list[Figure]) -> None:
    """Check names, units, values, errors and protocols."""
    assert figures, "it must return figures"
    for figure in figures:
        shown = f"the figure {figure!r}"
        assert figure.name, f"{shown} needs a name"
        assert figure.unit, f"{shown} needs a unit"
        assert figure.protocol, f"{shown} needs a protocol: how it was measured"
        assert math.isfinite(figure.value), f"the value of {shown} must be finite"
        error = figure.standard_error
        assert error is None or (math.isfinite(error) and error >= 0), f"the error of {shown} must be 0 or more"
        assert figure.set in (None, *SIZES), f"the set of {shown} must be one of {', '.join(SIZES)}"
    try:
        check_distinct(figures)
    except ValueError as error:
        raise AssertionError(f"every figure needs a chart of its own, but {error}") from error


def _check_equal(figures: list[Figure], expected: list[Figure], tolerance: float, what: str) -> None:
    """Check that figures are equal within a relative tolerance."""
    assert len(figures) == len(expected), f"{what}: {len(figures)} figures against {len(expected)}"
    for figure, other in zip(figures, expected, strict=True):
        numbers = ((getattr(figure, name) or 0.0, getattr(other, name) or 0.0) for name in NUMBERS)
        same = replace(figure, **NUMBERS) == replace(other, **NUMBERS)
        same &= all(math.isclose(one, two, rel_tol=tolerance, abs_tol=tolerance) for one, two in numbers)
        assert same, f"{what}: {figure!r} against {other!r}"


def _check_seed(figures: list[Figure], expected: list[Figure]) -> None:
    """Check that another seed changes figures within their standard errors, or not at all."""
    for figure, other in zip(figures, expected, strict=True):
        slack = ERRORS * math.hypot(figure.standard_error or 0.0, other.standard_error or 0.0)
        slack += ROUNDING * max(1.0, abs(other.value))
        assert abs(figure.value - other.value) <= slack, (
            f"another seed changes a figure by more than its standard error explains: {figure!r} against {other!r}"
        )


def _state_of(model: ScoreModel) -> dict[str, Any]:
    """All that an evaluator must leave as it is."""
    return {
        "the parameters": [parameter.clone() for parameter in model.parameters()],
        "the modes (train, eval)": torch.tensor([module.training for module in model.modules()]),
        "torch's random numbers (use maths.Draws)": torch.get_rng_state(),
    }


def _check_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for what, value in before.items():
        assert all(map(torch.equal, value, after[what])), f"it must leave {what} as they are"
