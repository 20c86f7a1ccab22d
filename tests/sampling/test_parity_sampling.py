"""One step of each sampler, and the final denoising, against the original's figures.

The original's vectors hold negatives where scores are rough or steps long. Ours are laws: they are compared with the
golden vectors set to 0 there and renormalized, which changes nothing where there are none.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sedd_core import load_model, plugin
from sedd_core.sampling.conditioning import score_function
from sedd_core.stages import FactorizedSampler, Graph, Noise
from sedd_core.stages.sampler import denoising_distribution
from tests.support.golden_figures import GOLDEN, arrays, close

NOISES = {"loglinear": plugin("noise_loglinear")(), "geometric": plugin("noise_geometric")()}
SAMPLERS = {name: plugin(f"sampler_{name}")() for name in ("euler", "analytic")}
GRAPHS = {"absorb": plugin("graph_absorb")(vocab_size=10), "uniform": plugin("graph_uniform")(vocab_size=11)}
FIGURES = {name: arrays(f"sampling_{name}") for name in GRAPHS}


def compare(law: Tensor, golden: Tensor, rows: Tensor) -> None:
    largest = golden.abs().amax(-1, keepdim=True).clamp(min=1)
    proper = golden.clamp(min=0)
    proper = proper / proper.sum(-1, keepdim=True)
    scale = (largest / golden.clamp(min=0).sum(-1, keepdim=True)).clamp(min=1)
    error = (law.double() - proper).abs() - 3e-4 * proper - 1e-6 * scale
    assert error[rows].max() <= 0, f"off by {error[rows].max():.3g} beyond tolerance"


def fixed(score: Tensor):
    """A score function that returns these scores at any noise level."""
    return lambda x, level, positions=None: score.log() if positions is None else score.log()[positions]


def check_step(
    sampler: FactorizedSampler,
    graph: Graph,
    noise: Noise,
    golden: dict[str, Tensor],
    case: str,
    dtype: torch.dtype = torch.float64,
) -> None:
    kind = type(sampler).__name__.lower()
    start, _, scores = case.rpartition("__")
    t, x = golden[f"{start}__t"][:, 0].double(), golden[f"{start}__x"]
    t_next = t - golden[f"{start}__step_size"]
    rows = golden[f"{start}__well_conditioned"] if kind == "analytic" else torch.ones(len(t), dtype=torch.bool)
    score_fn = fixed(golden[f"{case}__score"].to(dtype))
    law = sampler.step_distribution(x, noise(t), noise(t_next), score_fn, graph)
    compare(law, golden[f"{case}__{kind}_probs_f64"], rows)
    if scores == "exact" and kind == "analytic":
        close(law[rows], golden[f"{case}__true_reverse"][rows], rtol=1e-4, atol=2e-6)


CASES = [(noise, steps, scores) for noise in NOISES for steps in (4, 64, 1024) for scores in ("exact", "random")]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(("noise", "steps", "scores"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_a_step(graph: str, sampler: str, noise: str, steps: int, scores: str, dtype: torch.dtype) -> None:
    case = f"{noise}_S{steps}__{scores}"
    check_step(SAMPLERS[sampler], GRAPHS[graph], NOISES[noise], FIGURES[graph], case, dtype)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_step_check_sees_planted_faults(graph: str, sampler: str) -> None:
    golden = dict(FIGURES[graph])
    golden["loglinear_S64__step_size"] = golden["loglinear_S64__step_size"] * 1.001
    with pytest.raises(AssertionError):
        check_step(SAMPLERS[sampler], GRAPHS[graph], NOISES["loglinear"], golden, "loglinear_S64__exact")
    noise = plugin("noise_loglinear")(eps=2e-3)
    with pytest.raises(AssertionError):
        check_step(SAMPLERS[sampler], GRAPHS[graph], noise, FIGURES[graph], "loglinear_S64__exact")


@pytest.mark.parametrize("scores", ["exact", "random"])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_final_denoising(graph: str, noise: str, scores: str) -> None:
    golden, process = FIGURES[graph], GRAPHS[graph]
    t, x = golden[f"{noise}_denoise__t"][:, 0].double(), golden[f"{noise}_denoise__x"]
    score = golden[f"{noise}_denoise__{scores}__score"].double()
    rows, law = denoising_distribution(x, NOISES[noise](t), fixed(score), process)
    if process.mask is not None:
        assert not law[:, process.mask].any()
    good = rows & golden[f"{noise}_denoise__well_conditioned"][:, None]
    compare(law[good[rows], : process.vocab_size], golden[f"{noise}_denoise__{scores}__probs_f64"][good], slice(None))


@pytest.mark.parametrize(("name", "noise"), [("absorb_scaled", "loglinear"), ("uniform", "geometric")])
def test_with_the_scores_of_a_network(name: str, noise: str) -> None:
    model, graph, schedule = load_model(GOLDEN / "models" / name)
    golden = arrays(f"sampling_model_{name}")
    t, x = golden["t"][:, 0].double(), golden["x"]
    score_fn, level, level_next = score_function(model), schedule(t), schedule(t - golden["step_size"])
    with torch.no_grad():
        for kind, sampler in SAMPLERS.items():
            law = sampler.step_distribution(x, level, level_next, score_fn, graph)
            rows = golden["well_conditioned"] if kind == "analytic" else torch.ones(len(t), dtype=torch.bool)
            compare(law, golden[f"{kind}_probs_f64"], rows)
        level = schedule(golden["t_denoise"][:, 0].double())
        rows, law = denoising_distribution(x, level, score_fn, graph)
    compare(law[:, : graph.vocab_size], golden["denoiser_probs_f64"][rows], slice(None))
