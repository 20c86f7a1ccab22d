"""The score entropy of a linear head: equal to the dense one in value and gradient, without its logits."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sedd_core import plugin
from sedd_core.maths import linear_entropy as fused
from sedd_core.model import ScoreModel, entropy
from sedd_core.stages import Backbone, Graph, Head, InterpolatingGraph, NoiseLevel

from ..support.entropies import problem
from ..support.graphs import GRAPHS

PROCESSES: dict[str, Callable[[], Graph]] = {
    **GRAPHS,
    "gidd": lambda: plugin("graph_gidd")(vocab_size=6, p_uniform=0.2),
    "hybrid": lambda: plugin("graph_hybrid")(vocab_size=6),
}
HEADS: dict[str, Callable[[], Head]] = {
    "scaled": lambda: plugin("head_score")(scale_by_sigma=True),
    "score": lambda: plugin("head_score")(scale_by_sigma=False),
    "mean": lambda: plugin("head_mean")(),
}


class Table(Backbone):
    """Features from a table of states, scaled by the time; any dtype."""

    def __init__(self, num_states: int, width: int = 8) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(num_states, width))
        self.linear = nn.Linear(width, num_states)

    @property
    def head(self) -> nn.Linear:
        return self.linear

    def forward(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        return (
            (1 + level.t.to(self.table.dtype))[:, None, None]
            * self.table[x]
            * torch.linspace(0.2, 1, x.shape[1])[:, None].to(self.table.dtype)
        )


def make(graph: Graph, head: Head, dtype: torch.dtype = torch.float64, seed: int = 1) -> ScoreModel:
    torch.manual_seed(seed)
    return ScoreModel(Table(graph.num_states).to(dtype), graph, head)


def noised(graph: Graph) -> tuple[Tensor, Tensor, NoiseLevel, Tensor]:
    """States x that clean tokens x0 may become, their levels, and the positions in the loss."""
    generator = torch.Generator().manual_seed(2)
    x0 = torch.randint(graph.vocab_size, (3, 7), generator=generator)
    level = plugin("noise_loglinear")()(torch.tensor([0.1, 0.5, 0.9]).double())
    x = torch.multinomial(graph.transition(x0, level).flatten(0, 1), 1, generator=generator).view(x0.shape)
    return x, x0, level, graph.reachable(x, level) & (torch.rand(3, 7, generator=generator) < 0.8)


def dense(model: ScoreModel, x: Tensor, x0: Tensor, level: NoiseLevel, positions: Tensor) -> Float[Tensor, " B"]:
    values = model.graph.score_entropy(
        model.raw(x, level, positions), level.at(x, positions), x[positions], x0[positions]
    )
    return torch.zeros(x.shape, dtype=values.dtype).masked_scatter(positions, values).sum(-1)


def gradients(model: ScoreModel, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of states and slices of rows."""
    monkeypatch.setattr(fused, "BLOCK", 3)
    monkeypatch.setitem(sys.modules["sedd_core.maths.categorical"].CHUNK, "cpu", 20)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", PROCESSES)
def test_values_and_gradients_are_the_dense_ones(name: str, head: str) -> None:
    if (name, head) == ("ring", "scaled"):
        pytest.skip("the ring defines no offset")
    model = make(PROCESSES[name](), HEADS[head]())
    x, x0, level, positions = noised(model.graph)
    expected = dense(model, x, x0, level, positions)
    value = model.score_entropy(x, x0, level, positions)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    for weights in (torch.ones(3), torch.tensor([0.2, 3.0, 0.0])):
        right = gradients(model, (weights * dense(model, x, x0, level, positions)).sum())
        for ours in (
            (weights * model.score_entropy(x, x0, level, positions)).sum(),
            model.score_entropy(x, x0, level, positions, weight=weights.double()).sum(),
        ):
            torch.testing.assert_close(gradients(model, ours), right, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("head", HEADS)
def test_without_positions_every_gradient_is_zero(head: str) -> None:
    model = make(PROCESSES["absorb"](), HEADS[head]())
    x, x0, level, _ = noised(model.graph)
    value = model.score_entropy(x, x0, level, torch.zeros_like(x, dtype=torch.bool))
    assert value.tolist() == [0.0] * 3
    found = gradients(model, value.sum())
    assert len(found) == len(list(model.parameters()))
    assert all((gradient == 0).all() for gradient in found)


@pytest.mark.usefixtures("small_blocks")
def test_the_gradient_is_the_derivative() -> None:
    inputs, *rest = problem()
    assert torch.autograd.gradcheck(lambda *parts: fused.linear_entropy(*parts, *rest, torch.float64), inputs)
    without_bias = lambda *parts: fused.linear_entropy(*parts, None, *rest, torch.float64)  # noqa: E731
    assert torch.autograd.gradcheck(without_bias, inputs[:2])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_logits_do_not_overflow(dtype: torch.dtype) -> None:
    """Logits up to 300, at which float32 exponentials overflow: the sum is exp(shift) in float64 times a finite one."""
    inputs, x, x0, form, components, spans = problem()
    features, weight, bias = ((60 * part).detach().to(dtype) for part in (inputs[0], inputs[1] / 60, inputs[2] / 60))
    logits = (features @ weight.T + bias).double()
    assert logits.amax() > 100
    off = torch.ones_like(logits).scatter(1, x[:, None], 0.0)
    expected = form.grow * (logits.exp() * off).sum(-1) - (form.pull * ((logits * off) @ components.T)).sum(-1)
    expected = expected - form.clean * logits.gather(1, x0[:, None])[:, 0] + form.const
    value = fused.linear_entropy(features, weight, bias, x, x0, form, components, spans, dtype)
    torch.testing.assert_close(value, expected, rtol=1e-3 if dtype == torch.float32 else 1e-12, atol=1e-9)


def test_the_excluded_logit_may_be_anything() -> None:
    """Rows at the mask, whose own logit is never trained and may be huge: neither value nor gradient sees it."""
    graph = plugin("graph_absorb")(vocab_size=6)
    model = make(graph, HEADS["score"]())
    x, x0, level, positions = noised(graph)
    value = model.score_entropy(x, x0, level, positions)
    with torch.no_grad():
        model.backbone.head.bias[6] = 1e30
    changed = model.score_entropy(x, x0, level, positions)
    assert torch.equal(changed, value)
    gradients(model, changed.sum())
    bias = model.backbone.head.bias.grad
    assert bias is not None
    assert bias[6] == 0


@pytest.mark.parametrize("name", ["absorb", "uniform"])
def test_bfloat16_has_no_bias(name: str) -> None:
    """Mean relative difference of loss and gradient from float32 over 50 networks: below .2 %, one rounding is .4 %."""
    graph = plugin(f"graph_{name}")(vocab_size=50)
    differences = []
    for seed in range(50):
        model = make(graph, HEADS["score"](), torch.float32, seed)
        x, x0, level, positions = noised(graph)
        exact = model.score_entropy(x, x0, level, positions).sum()
        right = torch.cat([g.flatten() for g in gradients(model, exact)])
        with torch.autocast("cpu", torch.bfloat16):
            value = model.score_entropy(x, x0, level, positions).sum()
        found = torch.cat([g.flatten() for g in gradients(model, value)])
        differences.append([(value / exact - 1).item(), (found @ right / (right @ right) - 1).item()])
    assert torch.tensor(differences).mean(0).abs().max() < 2e-3


@pytest.mark.parametrize(
    ("graph", "head", "closed"),
    [("absorb", "score", True), ("uniform", "scaled", True), ("absorb", "mean", False), ("ring", "score", False)],
)
def test_which_losses_have_a_closed_form(graph: str, head: str, closed: bool) -> None:
    assert entropy.is_closed(HEADS[head](), PROCESSES[graph]()) is closed


def test_an_override_is_not_bypassed() -> None:
    """A head or graph that changes one of two methods that belong together gets the loss that it states."""

    class Halved(type(HEADS["score"]())):
        def log_score(self, logits: Tensor, x: Tensor, level: NoiseLevel, graph: Graph) -> Tensor:
            return super().log_score(logits, x, level, graph) / 2

    class Doubled(type(PROCESSES["uniform"]())):
        def score_entropy(self, log_score: Tensor, level: NoiseLevel, x: Tensor, x0: Tensor) -> Tensor:
            return 2 * super().score_entropy(log_score, level, x, x0)

    for graph, head in (
        (PROCESSES["uniform"](), Halved(scale_by_sigma=False)),
        (Doubled(vocab_size=6), HEADS["score"]()),
    ):
        model = make(graph, head)
        x, x0, level, positions = noised(graph)
        value, expected = model.score_entropy(x, x0, level, positions), dense(model, x, x0, level, positions)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_mixtures_are_stated_by_components() -> None:
    with pytest.raises(TypeError, match="override mixture_weights"):
        type("Old", (InterpolatingGraph,), {"mixture": lambda self, level, since=None: self.pi})
    half = torch.full((2, 2), 0.5, dtype=torch.float64)
    with pytest.raises(ValueError, match="components must not overlap: several are positive at state 0"):
        InterpolatingGraph(half[0], vocab_size=2, components=half)


def test_the_operator_is_opaque_to_compilers() -> None:
    inputs, x, x0, form, components, spans = problem()
    arguments = [part.detach() for part in inputs]
    torch.library.opcheck(fused._linear_entropy, (*arguments, x, x0, *form, components, spans, torch.float64, True))
