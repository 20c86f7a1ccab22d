"""The tests against code that is wrong by little: each fault here is found by the test that it is listed with.

First the conformance kit, against samplers and schedules; then other tests, against faults in the source of what they
hold. Faults of graphs are planted beside their checks (test_exact_graphs, test_parity_graph).
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from pkgutil import resolve_name

import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, Noise, NoiseLevel, Sampler, Step, StepWeights
from sedd_core.testing import check_draws, check_noise, check_sampler
from tests.distributed import test_processes
from tests.evaluation import test_bound, test_bound_exactly
from tests.stages import test_exact_graphs
from tests.training import test_dropout, test_training

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


def plant(monkeypatch: pytest.MonkeyPatch, where: str, old: str, new: str) -> None:
    """Change a function ("module:name") in a part of its source that stands there once, for all who have imported it."""
    function = inspect.unwrap(resolve_name(where))
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{where} holds {old!r} {source.count(old)} times: plant the fault anew"
    namespace = dict(vars(sys.modules[function.__module__]))
    exec("from __future__ import annotations\n" + source.replace(old, new), namespace)
    monkeypatch.setattr(function, "__code__", inspect.unwrap(namespace[function.__name__]).__code__)


def padding(seed: int) -> None:
    """The test of padding, on both processes."""
    for name in test_bound_exactly.MODELS:
        test_bound_exactly.test_padding_is_in_no_term(name, seed)


PLANTS: dict[str, tuple[str, str, str, Callable[[int], None]]] = {
    "standard error x 2": (
        "sedd_core.evaluation.bound:Bound.per",
        "math.sqrt(len(values))",
        "2 * math.sqrt(len(values))",
        lambda seed: test_bound.test_the_standard_error_is_that_of_a_ratio(),
    ),
    "standard error of nats alone": (
        "sedd_core.evaluation.bound:Bound.per",
        "(values - ratio * units)",
        "values",
        lambda seed: test_bound.test_the_standard_error_is_that_of_a_ratio(),
    ),
    "an interval of two standard errors": (
        "sedd_core.evaluation.bound:Bound.interval",
        "student_t(level, len(units) - 1)",
        "2",
        lambda seed: test_bound.test_the_standard_error_is_that_of_a_ratio(),
    ),
    "padding in the prior term": (
        "sedd_core.evaluation.bound:terms",
        ".where(loss_mask, 0.0)",
        "",
        padding,
    ),
    "padding in the reconstruction term": (
        "sedd_core.evaluation.integrand:log_denoised",
        ".where(loss_mask, 0.0)",
        "",
        padding,
    ),
    "padding in the diffusion term": (
        "sedd_core.evaluation.bound:terms",
        "graph.reachable(x) & loss_mask",
        "graph.reachable(x)",
        padding,
    ),
    "absorb's bound x 1.002": (
        "sedd_core.evaluation.integrand:_by_count",
        "weight = length",
        "weight = 1.002 * length",
        lambda seed: test_bound_exactly.test_absorb_with_independent_tokens_is_exact_in_every_draw(1, seed),
    ),
    "others' bound x 1.002": (
        "sedd_core.evaluation.integrand:_by_noise",
        "sigma * (high - low)",
        "1.002 * sigma * (high - low)",
        lambda seed: test_bound_exactly.test_every_term_of_a_token_under_uniform(),
    ),
    "times without jitter": (
        "sedd_core.training.batches:draw_times",
        "(draws.indices + uniform)",
        "(draws.indices + 0.5 + 0 * uniform)",
        lambda seed: test_training.test_times_fill_the_interval("stratified", seed),
    ),
    "strata of masks without jitter": (
        "sedd_core.evaluation.integrand:_by_count",
        "(index + uniform)",
        "(index + 0.5 + 0 * uniform)",
        lambda seed: test_bound_exactly.test_masks_and_their_noise_follow_their_laws(seed),
    ),
    "strata of log sigma without jitter": (
        "sedd_core.evaluation.integrand:_by_noise",
        'here.uniform("level", 1)[:, 0]',
        '0.5 + 0 * here.uniform("level", 1)[:, 0]',
        test_bound_exactly.test_log_sigma_is_uniform_in_each_stratum,
    ),
    "no clamp at sigma_max": (
        "sedd_core.evaluation.integrand:_by_count",
        "sigma.clamp(low, high)",
        "sigma.clamp(min=low)",
        lambda seed: test_bound_exactly.test_the_network_sees_no_noise_beyond_the_ends("absorb", seed),
    ),
    "no clamp at sigma_min": (
        "sedd_core.evaluation.integrand:_by_count",
        "sigma.clamp(low, high)",
        "sigma.clamp(max=high)",
        lambda seed: test_bound_exactly.test_the_network_sees_no_noise_beyond_the_ends("absorb", seed),
    ),
    "perturb x 1.002": (
        "sedd_core.stages.interpolating:InterpolatingGraph.perturb",
        "beta = -torch.expm1(-expand_to(sigma, x0).double())",
        "beta = -torch.expm1(-1.002 * expand_to(sigma, x0).double())",
        lambda seed: test_exact_graphs.test_perturb_draws_its_law_to_four_digits("absorb"),
    ),
    "perturb of any graph x 1.002": (
        "sedd_core.stages.graph:Graph.perturb",
        "self.transition(x0, sigma)",
        "self.transition(x0, 1.002 * sigma)",
        lambda seed: test_exact_graphs.test_perturb_draws_its_law_to_four_digits("ring"),
    ),
    "neighbours of one process in its parts": (
        "sedd_core.training.batches:microbatches",
        ".view(-1, accumulation(training, world.size), world.size)[:, :, world.rank].T",
        ".view(accumulation(training, world.size), world.size, -1)[:, world.rank]",
        lambda seed: test_processes.test_every_process_and_every_part_sees_all_times_alike(1),
    ),
    **{
        f"one dropout mask in every {what}": (
            "sedd_core.training.trainer:Trainer.step",
            '"dropout", step, self.world.rank, number',
            f'"dropout", {arguments}',
            lambda seed: test_dropout.test_masks_differ_between_steps_processes_and_parts_and_come_again(),
        )
        for what, arguments in {
            "step": "0, self.world.rank, number",
            "process": "step, 0, number",
            "part": "step, self.world.rank, 0",
        }.items()
    },
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    function, old, new, test = PLANTS[name]
    test(seed)
    plant(monkeypatch, function, old, new)
    with pytest.raises(AssertionError):
        test(seed)
