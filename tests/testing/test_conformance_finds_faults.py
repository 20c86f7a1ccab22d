"""Conformance checks on samplers and schedules with small planted faults: each fault is detected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, Head, Noise, NoiseLevel, Sampler, Step, StepWeights
from sedd_core.testing import check_draws, check_head, check_noise, check_sampler

Analytic, Euler = plugin("sampler_analytic"), plugin("sampler_euler")
PAIRS = {"absorb": "loglinear", "uniform": "geometric"}


def scaled(level: NoiseLevel, sigma: float = 1.0, rate: float = 1.0) -> NoiseLevel:
    return level._replace(sigma=level.sigma * sigma, rate=level.rate * rate)


class Timid(Analytic):
    """Probabilities of moving 0.1% too low."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        values, total = super().step_weights(x, score, step, graph)
        stay = values.gather(-1, x[:, None])
        return StepWeights((0.999 * values).scatter(-1, x[:, None], stay), total)


class TooNoisy(Analytic):
    """Both noise levels 1% too high."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score, Step(*(scaled(level, sigma=1.01) for level in step)), graph)


class HalfWay(Analytic):
    """The step ends half-way."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        middle = step.level_next._replace(sigma=(step.level.sigma + step.level_next.sigma) / 2)
        return super().step_weights(x, score, Step(step.level, middle), graph)


class Hasty(Euler):
    """A rate 0.1% too high."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score, step._replace(level=scaled(step.level, rate=1.001)), graph)


class Sharp(Euler):
    """Scores to the power 1.01."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score**1.01, step, graph)


class LeftBehind(Euler):
    """The noise level in place of its rate."""

    def step_weights(self, x: Tensor, score: Tensor, step: Step, graph: Graph) -> StepWeights:
        return super().step_weights(x, score, step._replace(level=step.level._replace(rate=step.level.sigma)), graph)


@pytest.mark.parametrize("fault", [Timid, TooNoisy, HalfWay, Hasty, Sharp, LeftBehind])
@pytest.mark.parametrize("graph", PAIRS)
def test_a_wrong_sampler_is_detected(graph: str, fault: Callable[[], Sampler]) -> None:
    with pytest.raises(AssertionError, match=r"order|exact flow"):
        check_sampler(fault(), plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{PAIRS[graph]}")())


@pytest.mark.parametrize("sampler", [Analytic, Euler])
@pytest.mark.parametrize(
    ("graph", "noise"), [("absorb", "geometric"), pytest.param("uniform", "loglinear", marks=pytest.mark.slow)]
)
def test_correct_samplers_pass_under_the_other_schedule(graph: str, sampler: Callable[[], Sampler], noise: str) -> None:
    """Under their own (`PAIRS`), the tests of the samplers' plugins check them."""
    check_sampler(sampler(), plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{noise}")())


class Twice(Analytic):
    """Two half steps in one, each of which needs its own draws. A planted fault: they share them."""

    parts: tuple[str, str] | None = None

    def step(self, x, level, level_next, score_fn, graph, draws, state=None) -> Tensor:
        first, second = (draws.part(name) for name in self.parts) if self.parts else (draws, draws)
        middle = NoiseLevel(*((now + then) / 2 for now, then in zip(level, level_next, strict=True)))
        x = super().step(x, level, middle, score_fn, graph, first, state)
        return super().step(x, middle, level_next, score_fn, graph, second, state)


class TwicePart(Twice):
    """The correct version: each half step has its own draws."""

    parts = ("first", "second")


class SameName(Twice):
    """A planted fault: both parts have the same name."""

    parts = ("half", "half")


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_draws_that_are_used_twice_are_detected(graph: str, seed: int) -> None:
    """The samples are off by .2 in total variation, of which sampling error explains .05.

    No other check detects this fault: `step_distribution` is correct.
    """
    process, noise = plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{PAIRS[graph]}")()
    for fault in (Twice, SameName):
        with pytest.raises(AssertionError, match=r"draws\.part"):
            check_draws(fault(), process, noise, seed=seed)
    check_draws(TwicePart(), process, noise, seed=seed)


class Forgetful(Analytic):
    """Fixed tokens are forgotten."""

    def run(self, x, levels, score_fn, graph, draws, fixed_tokens=None, on_step=lambda x: None):
        return super().run(x, levels, score_fn, graph, draws, None, on_step)


class Unfinished(Analytic):
    """Without the final denoising, masks stay."""

    def denoise(self, x, level, score_fn, graph, draws):
        return x


class Unaddressed(Analytic):
    """Draws by the place in the batch."""

    def step(self, x, level, level_next, score_fn, graph, draws, state=None):
        draws = replace(draws, indices=torch.arange(len(x)))
        return super().step(x, level, level_next, score_fn, graph, draws, state)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Forgetful, "must keep fixed tokens"),
        (Unfinished, "tokens below 3 alone, not 3"),
        (Unaddressed, "function of the index of its sequence"),
    ],
)
def test_a_wrong_run_is_detected(fault: Callable[[], Sampler], message: str) -> None:
    graph, noise = plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")(eps=0.1)
    with pytest.raises(AssertionError, match=message):
        check_sampler(fault(), graph, noise)


class Plain(Sampler):
    """A sampler without `step_distribution`: the steps of Euler, of which every `skip`-th is left out."""

    def __init__(self, *, skip: int = 0) -> None:
        super().__init__()
        self.inner, self.skip = Euler(), skip

    def step(self, x, level, level_next, score_fn, graph, draws, state=None) -> Tensor:
        if self.skip and draws.step % self.skip == 0:
            return x
        return self.inner.step(x, level, level_next, score_fn, graph, draws, state)


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_samplers_of_any_kind_are_checked(graph: str) -> None:
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
def test_a_wrong_schedule_is_detected(kind: str, change: dict[str, float]) -> None:
    with pytest.raises(AssertionError):
        check_noise(faulty_noise(kind, **change))


@pytest.mark.parametrize("kind", PAIRS.values())
def test_a_schedule_in_float32_is_detected(kind: str) -> None:
    class Faulty(plugin(f"noise_{kind}")):
        def forward(self, t: Tensor) -> NoiseLevel:
            return NoiseLevel(*(part.to(t.dtype) for part in super().forward(t)))

    with pytest.raises(AssertionError, match="float64"):
        check_noise(Faulty())
    assert Faulty()(torch.tensor(0.5)).sigma.dtype == torch.float32


class Shifted(plugin("head_score")):
    """An offset that is 0.1% of a nat beside what is added to the logits."""

    def offset(self, x: Tensor, level: NoiseLevel, graph: Graph) -> Tensor:
        return super().offset(x, level, graph) + 1e-3

    def log_score(self, logits: Tensor, x: Tensor, level: NoiseLevel, graph: Graph) -> Tensor:
        return super().log_score(logits, x, level, graph) - 1e-3


class Bounded(plugin("head_score")):
    """Log-scores that are more than the logits and an offset, with an offset all the same."""

    def log_score(self, logits: Tensor, x: Tensor, level: NoiseLevel, graph: Graph) -> Tensor:
        return super().log_score(logits.tanh(), x, level, graph)


@pytest.mark.parametrize("fault", [Shifted, Bounded])
@pytest.mark.parametrize("graph", PAIRS)
def test_an_offset_that_is_not_that_of_the_log_scores_is_detected(graph: str, fault: Callable[[], Head]) -> None:
    with pytest.raises(AssertionError, match="log_score minus logits against offset"):
        check_head(fault(), plugin(f"graph_{graph}")(vocab_size=4))
