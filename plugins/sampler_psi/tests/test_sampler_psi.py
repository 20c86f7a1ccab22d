"""The psi sampler, its exact distributions, and vectors recorded from Duo's code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths import Draws
from sedd_core.stages import NoiseLevel, Step
from sedd_core.testing import Oracle, check_sampler, random_joint, total_variation

HERE = Path(__file__).parent
NOISES = {"absorb": "loglinear", "uniform": "geometric", "hybrid": "geometric"}


def psi(mode: str, strength: float, **settings: float):
    return plugin("sampler_psi")(mode=mode, strength=strength, **settings)


def problem(graph: str, vocab: int = 3, length: int = 3, joint: int = 0) -> Oracle:
    process = plugin(f"graph_{graph}")(vocab_size=vocab)
    return Oracle(process, plugin(f"noise_{NOISES[graph]}")(), random_joint(vocab, length, seed=joint))


def level_of(sigma: float, *shape: int) -> NoiseLevel:
    return NoiseLevel.of_sigma(torch.full(shape, sigma, dtype=torch.float64))


def of_alpha(alpha: Tensor) -> NoiseLevel:
    return NoiseLevel.of_sigma(-alpha.log())


@pytest.mark.parametrize(
    ("graph", "mode", "strength"),
    [("absorb", "cap", 0.02), pytest.param("uniform", "kappa", 0.95, marks=pytest.mark.slow)],
)
def test_conformance(graph: str, mode: str, strength: float) -> None:
    check_sampler(psi(mode, strength), plugin(f"graph_{graph}")(vocab_size=4), plugin(f"noise_{NOISES[graph]}")())


@pytest.mark.parametrize("joint", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("graph", "mode", "strength", "slope"),
    [("absorb", "kappa", 1.0, 1.0), ("uniform", "kappa", 1.0, 1.0), ("absorb", "cap", 0.2, 0.5)],
)
def test_the_order_is_1_without_and_one_half_with_remasking(
    graph: str, mode: str, strength: float, slope: float, joint: int
) -> None:
    exact = problem(graph, joint=joint)
    distance = [total_variation(exact.sampled(psi(mode, strength), steps), exact.p0) for steps in (64, 128)]
    assert abs(math.log2(distance[0] / distance[1]) - slope) < 0.1


@pytest.mark.parametrize("graph", NOISES)
def test_kappa_1_is_the_analytic_step(graph: str) -> None:
    exact = problem(graph)
    levels = level_of(1.2, len(exact.states)), level_of(0.9, len(exact.states))
    laws = [
        sampler.step_distribution(exact.states, *levels, exact.score_fn(), exact.graph)
        for sampler in (psi("kappa", 1.0), plugin("sampler_analytic")())
    ]
    torch.testing.assert_close(*laws, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kappa", [0.0, 0.9])
@pytest.mark.parametrize("graph", NOISES)
def test_a_corrector_keeps_the_distribution_if_one_position_moves(graph: str, kappa: float) -> None:
    """Also for one position; if all move at once, it does not, by .03 to .04 at kappa 0 and by 1 % of that at .9."""
    exact = problem(graph)
    marginal, level = exact.marginal(0.7), level_of(0.7, len(exact.states))
    law = psi("kappa", kappa).step_distribution(exact.states, level, level, exact.score_fn(), exact.graph)
    stay = torch.nn.functional.one_hot(exact.states, exact.graph.num_states).double()
    moved = [exact.propagate(marginal, torch.where((torch.arange(3) == i)[:, None], law, stay)) for i in range(3)]
    assert total_variation(sum(moved) / 3, marginal) < 1e-12
    parallel = total_variation(exact.propagate(marginal, law), marginal)
    assert 0.02 < parallel / (1 - kappa) ** 2 < 0.06
    single = problem(graph, length=1)
    level = level_of(0.7, len(single.states))
    law = psi("kappa", kappa).step_distribution(single.states, level, level, single.score_fn(), single.graph)
    assert total_variation(single.propagate(single.marginal(0.7), law), single.marginal(0.7)) < 1e-12


@pytest.mark.parametrize(("mode", "strength"), [("cap", 0.1), ("cap", 1.0), ("rescale", 0.9), ("constant", 0.05)])
@pytest.mark.parametrize(("now", "then"), [(2.0, 1.5), (0.02, 1e-4)])
def test_on_absorb_steps_are_those_of_remdm(mode: str, strength: float, now: float, then: float) -> None:
    """A token is remasked with probability eta; a mask becomes a token at (alpha_s - (1 - eta) alpha_t) / (1 - alpha_t).

    Near the data, kappa is negative; at its least value all masks are removed.
    """
    exact, sampler = problem("absorb"), psi(mode, strength)
    levels = level_of(now, len(exact.states)), level_of(then, len(exact.states))
    law = sampler.step_distribution(exact.states, *levels, exact.score_fn(), exact.graph)
    alpha_t, alpha_s = math.exp(-now), math.exp(-then)
    most = min(1.0, (1 - alpha_s) / alpha_t)
    eta = {"cap": min(strength, most), "rescale": strength * min(strength, most), "constant": min(strength, most)}[mode]
    masked = exact.states == 3
    torch.testing.assert_close(law[..., 3][~masked], torch.full_like(law[..., 3][~masked], eta), rtol=1e-9, atol=1e-12)
    unmasked = (alpha_s - (1 - eta) * alpha_t) / (1 - alpha_t)
    tokens = torch.expm1(levels[0].sigma)[:, None, None] * exact.log_score(exact.states, now).exp()
    torch.testing.assert_close(law[masked][:, :3], (unmasked * tokens)[masked][:, :3], rtol=1e-9, atol=1e-12)


def test_scores_of_tokens_in_place_do_not_matter_on_absorb() -> None:
    """A network is not trained to have any there."""
    graph, level = plugin("graph_absorb")(vocab_size=3), level_of(0.7, 1)

    def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        return torch.tensor([[300.0, 0.0, 300.0, 300.0]])

    law = psi("kappa", 0.0).step_distribution(torch.tensor([[1]]), level, level, score, graph)
    torch.testing.assert_close(law[0, 0], torch.tensor([0.0, math.exp(-0.7), 0.0, 1 - math.exp(-0.7)]))


def test_kappas_are_those_of_duo() -> None:
    """Recorded on a grid; where they are negative, that code sets 0."""
    golden = json.loads((HERE / "duo_psi_kappas.json").read_text())
    alpha = 1 - 0.999 * torch.tensor(golden["timesteps"]).double()
    step, graph = Step(of_alpha(alpha[:-1]), of_alpha(alpha[1:])), plugin("graph_uniform")(vocab_size=3)
    modes = {
        "constant-0.3": psi("kappa", 0.3),
        "constant-remdm-0.02": psi("constant", 0.02),
        "max-capped-0.05": psi("cap", 0.05),
        "max-rescale-0.5": psi("rescale", 0.5),
        "pure-pc": psi("kappa", 0.0),
        "pure-posterior": psi("kappa", 1.0),
    }
    for name, sampler in modes.items():
        expected = torch.tensor(golden["kappas"][name][:-1]).double()  # the last is the final denoising
        torch.testing.assert_close(sampler.kappa(step, graph), expected, rtol=0, atol=2e-5, msg=name)


@pytest.mark.parametrize("schedule", ["loglinear", "cosine"])
def test_a_step_is_that_of_duo(schedule: str) -> None:
    with np.load(HERE / "duo_psi.npz") as file:
        golden = {name.split("__")[1]: torch.from_numpy(file[name]) for name in file if name.startswith(schedule)}
    graph = plugin("graph_uniform")(vocab_size=30)
    times = torch.stack([golden["t"], golden["t"] - golden["dt"]])
    noised = 0.999 * times if schedule == "loglinear" else torch.cos(math.pi / 2 * (1 - 0.999 * times))
    torch.testing.assert_close(1 - noised[0], golden["alpha_f64"])
    level, level_next = of_alpha(1 - noised[0]), of_alpha(1 - noised[1])
    x, log_mean = golden["xt"][:, 0], golden["log_x_theta_f64"][:, 0]

    def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        return graph.score_from_mean(log_mean, x, level)[positions]

    for kappa, name in ((golden["kappa"].item(), "probs_psi_f64"), (1.0, "probs_ancestral_f64")):
        law = psi("kappa", kappa).step_distribution(x, level, level_next, score, graph)
        torch.testing.assert_close(law, golden[name][:, 0], rtol=1e-9, atol=1e-12)


def test_a_loop_stays_at_one_level_and_remasks_there_only() -> None:
    exact, sampler = problem("absorb"), psi("constant", 0.05, loop=0.5, loop_alpha=0.9)
    seen: list[float] = []

    def score(x: Tensor, level: NoiseLevel, positions: Tensor) -> Tensor:
        seen.append(level.sigma[0].item())
        return exact.score_fn()(x, level, positions)

    times = torch.linspace(1, 1e-5, 41, dtype=torch.float64)
    draws = Draws(0, torch.arange(2))
    out = sampler.run(exact.graph.prior(draws, 3), exact.noise(times), score, exact.graph, draws)
    assert (out < 3).all()
    assert len(seen) in (40, 41)  # the last one only if a mask is left
    stays = max(seen, key=seen.count)
    assert seen.count(stays) == 21
    assert abs(math.exp(-stays) - 0.9) < 0.05
    assert seen == sorted(seen, reverse=True)
    moving, staying = (Step(level_of(1.0, 1), level_of(then, 1)) for then in (0.9, 1.0))
    assert [sampler.eta(step).item() for step in (moving, staying)] == [0.0, 0.05]
    kappas = [psi("kappa", 0.3, loop=0.5).kappa(step, exact.graph).item() for step in (moving, staying)]
    assert kappas == [1.0, pytest.approx(0.3)]


def test_conf_remasks_by_the_softmax_of_minus_confidence() -> None:
    """Tokens in place are remasked with their share of strength m; new ones are kept, with their probability."""
    exact, sampler, count = problem("absorb"), psi("conf", 0.8), 4000
    x = torch.tensor([[0, 3, 1]]).expand(count, -1)
    level, level_next, draws = level_of(0.7, count), level_of(0.5, count), Draws(0, torch.arange(count))
    state = sampler.init(x, exact.graph)
    state[:, 0] = 0.25
    out = sampler.step(x, level, level_next, exact.score_fn(), exact.graph, draws, state)
    most = 0.8 * -math.expm1(-0.5) * math.exp(0.7)
    share = torch.tensor([-0.25, -1.0]).softmax(-1)
    remasked = (out[:, [0, 2]] == 3).double().mean(0)
    assert ((remasked - most * share).abs() < 5 * (0.25 / count) ** 0.5).all()
    new = out[:, 1] != 3
    tokens = exact.score_fn()(x[:1], level_of(0.7, 1))[0, 1, :3].softmax(-1)
    torch.testing.assert_close(state[new, 1], tokens[out[new, 1]])
    assert (state[~new, 1] == 1).all()
    analytic = plugin("sampler_analytic")().step(x, level, level_next, exact.score_fn(), exact.graph, draws)
    assert torch.equal(out[:, 1], analytic[:, 1])


def test_what_does_not_suit_is_refused() -> None:
    assert "only mask" in psi("conf", 1.0).incompatibility(plugin("graph_uniform")(vocab_size=3))
    assert psi("cap", 1.0).incompatibility(plugin("graph_uniform")(vocab_size=3)) is None
    with pytest.raises(ValueError, match=r"strength must lie in \[0, 1\]"):
        psi("cap", 1.5)
