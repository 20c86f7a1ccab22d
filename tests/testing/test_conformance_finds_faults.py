"""The conformance kit against samplers and schedules that are wrong by little: each fault is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, Noise, NoiseLevel, Sampler, Step, StepWeights
from sedd_core.testing import check_draws, check_noise, check_sampler

Analytic, Euler = plugin("sampler_analytic"), plugin("sampler_euler")
PAIRS = {"absorb": "loglinear", "uniform": "geometric"}


def scaled(level: NoiseLevel, sigma: float = 1.0, rate: float = 1.0) -> NoiseLevel:
    return NoiseLevel(level.sigma * sigma, level.rate * rate)


class Timid(Analytic):
    """Every move a thousandth too rare."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        values, total = super().step_weights(x, score, step, graph)
        stay = values.gather(-1, x[:, None])
        return StepWeights((0.999 * values).scatter(-1, x[:, None], stay), total)


class TooNoisy(Analytic):
    """Both noise levels 1 % too high."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        louder = step._replace(now=scaled(step.now, sigma=1.01), then=scaled(step.then, sigma=1.01))
        return super().step_weights(x, score, louder, graph)


class HalfWay(Analytic):
    """Stops half-way through the step."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        middle = scaled(NoiseLevel(step.now.sigma + step.then.sigma, step.then.rate), sigma=0.5)
        return super().step_weights(x, score, step._replace(then=middle), graph)


class Hasty(Euler):
    """A rate 0.1 % too high."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score, step._replace(now=scaled(step.now, rate=1.001)), graph)


class Sharp(Euler):
    """Scores to the power 1.01."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score**1.01, step, graph)


class LeftBehind(Euler):
    """The noise level (not its rate) in the place of the rate."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score, step._replace(now=NoiseLevel(step.now.sigma, step.now.sigma)), graph)


@pytest.mark.parametrize("fault", [Timid, TooNoisy, HalfWay, Hasty, Sharp, LeftBehind])
@pytest.mark.parametrize("graph", PAIRS)
def test_a_wrong_sampler_is_found(graph: str, fault: Callable[[], Sampler]) -> None:
    with pytest.raises(AssertionError, match=r"order|exact flow"):
        check_sampler(fault(), plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{PAIRS[graph]}")())


@pytest.mark.parametrize("sampler", [Analytic, Euler])
@pytest.mark.parametrize("graph", PAIRS)
@pytest.mark.parametrize("noise", PAIRS.values())
def test_the_right_ones_pass_under_either_schedule(graph: str, sampler: Callable[[], Sampler], noise: str) -> None:
    check_sampler(sampler(), plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{noise}")())


class Twice(Analytic):
    """Two steps of half the length in one, of which each needs draws of its own; a planted fault: they share them."""

    parts: tuple[str, str] | None = None

    def step(self, x, t, t_next, model, noise, graph, draws) -> Tensor:
        first, second = (draws.part(name) for name in self.parts) if self.parts else (draws, draws)
        middle = (t + t_next) / 2
        x = super().step(x, t, middle, model, noise, graph, first)
        return super().step(x, middle, t_next, model, noise, graph, second)


class TwicePart(Twice):
    """The right one."""

    parts = ("first", "second")


class SameName(Twice):
    """A planted fault: both parts have one name."""

    parts = ("half", "half")


@pytest.mark.parametrize("graph", PAIRS)
def test_draws_that_are_used_twice_are_found(graph: str, seed: int) -> None:
    """By the law of the samples: off by .2, where .05 is chance; the law that is stated is right, so nothing else is."""
    process, noise = plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{PAIRS[graph]}")()
    for fault in (Twice, SameName):
        with pytest.raises(AssertionError, match=r"draws\.part"):
            check_draws(fault(), process, noise, seed=seed)
    check_draws(TwicePart(), process, noise, seed=seed)


class Plain(Sampler):
    """Any sampler, with no law of its own to state: here with the steps of another, of which some may be left out."""

    def __init__(self, *, skip: int = 0) -> None:
        super().__init__()
        self.inner, self.skip = Euler(), skip

    def step(self, x, t, t_next, model, noise, graph, draws) -> Tensor:
        if self.skip and draws.step % self.skip == 0:
            return x
        return self.inner.step(x, t, t_next, model, noise, graph, draws)


@pytest.mark.parametrize("graph", PAIRS)
def test_the_kit_takes_samplers_of_any_kind(graph: str) -> None:
    process, noise = plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{PAIRS[graph]}")()
    check_sampler(Plain(), process, noise)
    with pytest.raises(AssertionError, match="total variation"):
        check_sampler(Plain(skip=2), process, noise)


def faulty_noise(kind: str, **change: float) -> Noise:
    class Faulty(plugin(f"noise_{kind}")):
        def forward(self, t: Tensor) -> NoiseLevel:
            return scaled(super().forward(t), **change)

    return Faulty()


@pytest.mark.parametrize("change", [{"rate": 1.001}, {"rate": -1.0}, {"sigma": 1.001}, {"sigma": -1.0}], ids=str)
@pytest.mark.parametrize("kind", PAIRS.values())
def test_a_wrong_schedule_is_found(kind: str, change: dict[str, float]) -> None:
    with pytest.raises(AssertionError):
        check_noise(faulty_noise(kind, **change))


@pytest.mark.parametrize("kind", PAIRS.values())
def test_a_schedule_in_float32_is_found(kind: str) -> None:
    class Faulty(plugin(f"noise_{kind}")):
        def forward(self, t: Tensor) -> NoiseLevel:
            return NoiseLevel(*(part.to(t.dtype) for part in super().forward(t)))

    with pytest.raises(AssertionError, match="float64"):
        check_noise(Faulty())
    assert Faulty()(torch.tensor(0.5)).sigma.dtype == torch.float32
