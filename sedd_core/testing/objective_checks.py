"""Conformance check for training objectives, against the likelihood bound's integral by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from ..maths.draws import Draws
from ..model.score import ScoreModel
from ..stages import Batch, DenoisingObjective, DocumentBackbone, Graph, Head, Noise, NoiseLevel, Objective
from .conformance import close
from .distributions import random_joint
from .oracle import Oracle, log_nodes

LENGTH, NODES, GROUPS, PER_GROUP, WIDTH = 2, 32, 32, 256, 4
SMALLEST_SIGMA, LARGEST_SIGMA = 1e-9, 40.0
"""Ends of the quadrature of an objective whose integral is over all noise."""
MOST_ERRORS = 6.0
"""Largest distance of an estimate from its expectation, in standard errors over GROUPS groups."""


class Numbers(NamedTuple):
    """A mean loss, in nats per sequence, and its gradient [P] over all parameters."""

    loss: Float64[Tensor, "..."]
    gradient: Float64[Tensor, "... P"]


class Toy(DocumentBackbone):
    """A small network in float64: every position sees all others, the noise level and a condition [B, 1]."""

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.empty(num_states, WIDTH, dtype=torch.float64))
        self.others = nn.Parameter(torch.empty(num_states, WIDTH, dtype=torch.float64))
        self.noise = nn.Parameter(torch.empty(WIDTH, dtype=torch.float64))
        self.condition = nn.Parameter(torch.empty(WIDTH, dtype=torch.float64))
        self.linear = nn.Linear(WIDTH, num_states, dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)

    @property
    def head(self) -> nn.Linear:
        """See `Backbone.head`."""
        return self.linear

    def forward(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """See `DocumentBackbone.forward`; each sequence is one document here."""
        assert cond is not None, "losses must hand batch.cond to the network in every call"
        assert documents is not None, "losses must hand batch.documents to the network in every call"
        noise = level.at(x).sigma[..., None].double().log1p() * self.noise
        others = self.others[x].sum(1, keepdim=True) + cond[:, None] * self.condition
        return torch.tanh(self.own[x] + others + noise)


class Watched(Noise):
    """A schedule that keeps the times that it is asked for."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise
        self.asked: list[Tensor] = []

    def forward(self, t: Float[Tensor, "*shape"]) -> NoiseLevel:
        """See `Noise.forward`."""
        self.asked.append(t)
        return self.noise(t)

    def time(self, sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See `Noise.time`."""
        return self.noise.time(sigma)


def _batch(tokens: Int64[Tensor, "B L"], loss_mask: Bool[Tensor, "..."] | None = None) -> Batch:
    """Sequences with a condition each, and a loss mask [L] or [B, L]."""
    return Batch(
        tokens,
        None if loss_mask is None else loss_mask.expand_as(tokens),
        tokens.double().mean(-1, keepdim=True),
        documents=torch.zeros_like(tokens),
    )


def check_objective(objective: Objective, graph: Graph, head: Head, noise: Noise, t_min: float = 1e-3) -> None:
    """Check an objective's expectation and gradient against the bound's integral, its masks and its draws.

    The integral and its gradient are sums over all noised sequences with quadrature over the noise level. A
    `DenoisingObjective` is compared exactly, and every objective by estimates from `losses`.

    Args:
        objective: The objective.
        graph: A forward process of few states.
        head: A head for that process.
        noise: Noise schedule.
        t_min: Smallest diffusion time.

    Raises:
        AssertionError: A property does not hold.
    """
    model = ScoreModel(Toy(graph.num_states), graph, head)
    _check_values(objective, model, noise, t_min)
    factor = objective.bound_factor(t_min)
    if factor is None:
        assert objective.leaves_out, "an objective that is not the bound says in leaves_out how it differs"
        return
    mask, ends = torch.tensor([True, False]), objective.noise_range(noise, t_min)
    for loss_mask in (None, mask):
        expected = _enumerated(model, noise, ends, _bound_integrand, loss_mask)
        expected = Numbers(factor * expected.loss, factor * expected.gradient)
        if isinstance(objective, DenoisingObjective):
            integrand = objective.integrand
            exact = _enumerated(model, noise, ends, integrand, loss_mask)
            exact = Numbers(exact.loss / (1 - t_min), exact.gradient / (1 - t_min))
            close(exact.loss, expected.loss, f"E[integrand] against {factor:.6g} times the bound's integral", 1e-6)
            scale = expected.gradient.norm()
            close(exact.gradient / scale, expected.gradient / scale, "gradient of E[integrand] by enumeration", 1e-6)
        _check_estimates(objective, model, noise, t_min, expected, loss_mask)


def _check_values(objective: Objective, model: ScoreModel, noise: Noise, t_min: float) -> None:
    tokens = torch.randint(model.graph.vocab_size, (6, LENGTH), generator=torch.Generator().manual_seed(1))
    watched = Watched(noise)
    losses = objective.losses(model, watched, _batch(tokens), Draws(0, torch.arange(6)), t_min)
    assert losses.shape == (6,), f"losses must have one entry per sequence, [6], not {list(losses.shape)}"
    half = objective.losses(model, noise, _batch(tokens[3:]), Draws(0, torch.arange(3, 6)), t_min)
    close(half, losses[3:].detach(), "losses of half of a batch: draws are addressed by the sequence's index", 1e-9)
    times = objective.times(Draws(0, torch.arange(6)), t_min)
    if times is not None:
        assert bool(((times >= t_min) & (times <= 1)).all()), f"times must lie in [{t_min}, 1]: {times}"
        assert any(t.shape == times.shape and torch.equal(t, times) for t in watched.asked), (
            "losses must noise the sequences to the times that `times` states, by which the log bins them"
        )
    gradient = _gradient(model, losses.mean())
    assert gradient.isfinite().all(), "the gradient must be finite"
    assert (gradient != 0).any(), "the gradient must not be zero where positions are noised"
    nothing = _batch(tokens, torch.zeros_like(tokens, dtype=torch.bool))
    losses = objective.losses(model, noise, nothing, Draws(0, torch.arange(6)), t_min)
    close(losses, torch.zeros(()), "losses of sequences without a position in the loss mask (0)")
    model.zero_grad()
    losses.sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without, f"every parameter must get a gradient, if only zeros (DDP); without: {', '.join(without)}"


def _bound_integrand(
    model: ScoreModel, x: Int64[Tensor, "B L"], level: NoiseLevel, batch: Batch
) -> Float64[Tensor, " B"]:
    """dsigma/dt times the score entropy [B]."""
    positions = model.graph.reachable(x, level) & batch.full_loss_mask()
    log_score = model.raw(x, level, positions, batch.cond, batch.documents)
    entropy = model.graph.score_entropy(log_score, level.at(x, positions), x[positions], batch.tokens[positions])
    return level.rate * torch.zeros(x.shape, dtype=torch.float64).masked_scatter(positions, entropy).sum(-1)


Integrand = Callable[[ScoreModel, Int64[Tensor, "B L"], NoiseLevel, Batch], Float[Tensor, " B"]]


def _enumerated(
    model: ScoreModel,
    noise: Noise,
    ends: tuple[float, float],
    integrand: Integrand,
    loss_mask: Bool[Tensor, " L"] | None,
) -> Numbers:
    """The integral over sigma between `ends` of E[integrand] / rate, averaged over all clean sequences, and its
    gradient."""
    graph = model.graph
    oracle = Oracle(graph, noise, random_joint(graph.vocab_size, LENGTH, seed=1))
    low, high = max(ends[0], SMALLEST_SIGMA), min(ends[1], LARGEST_SIGMA)
    total = torch.zeros((), dtype=torch.float64)
    for sigma, weight in log_nodes(NODES if (low, high) == ends else 3 * NODES, low, high):
        probs = _noised(oracle, sigma, loss_mask)
        first, second = (probs > 0).nonzero(as_tuple=True)
        x, x0 = oracle.states[second], oracle.clean[first]
        level = noise.at_sigma(torch.full((len(x),), sigma, dtype=torch.float64))
        values = integrand(model, x, level, _batch(x0, loss_mask))
        total = total + weight * (probs[first, second] * values / level.rate).sum() / len(oracle.clean)
    return Numbers(total.detach(), _gradient(model, total))


def _noised(oracle: Oracle, sigma: float, loss_mask: Bool[Tensor, " L"] | None) -> Float64[Tensor, "N0 N"]:
    """q_sigma(x | x0) [N0, N]; positions outside of the loss mask are clean."""
    if loss_mask is None:
        return oracle.forward_distribution(sigma)
    x, x0 = oracle.states, oracle.clean[:, None]
    return torch.where(loss_mask, oracle.kernel(sigma)[x0, x], (x == x0).double()).prod(-1)


def _check_estimates(
    objective: Objective,
    model: ScoreModel,
    noise: Noise,
    t_min: float,
    expected: Numbers,
    loss_mask: Bool[Tensor, " L"] | None,
) -> None:
    """Compare estimates from `losses` with the expectation, in standard errors over groups of sequences."""
    clean = torch.cartesian_prod(*[torch.arange(model.graph.vocab_size)] * LENGTH)
    groups = []
    for group in range(GROUPS):
        repeats = math.ceil(PER_GROUP / len(clean))
        tokens = clean.repeat(repeats, 1)
        draws = Draws(0, torch.arange(len(tokens)), step=group)
        loss = objective.losses(model, noise, _batch(tokens, loss_mask), draws, t_min).mean()
        groups.append(torch.cat([loss.detach().double()[None], _gradient(model, loss)]))
    values = torch.stack(groups)
    mean, error = values.mean(0), values.std(0) / math.sqrt(GROUPS)
    truth = torch.cat([expected.loss[None], expected.gradient])
    distance = ((mean - truth).abs() / (error + 1e-9)).max().item()
    assert distance < MOST_ERRORS, (
        f"estimates from losses (loss {mean[0]:.4f} ± {error[0]:.4f}, its gradient) against the expectation "
        f"({truth[0]:.4f}): {distance:.1f} standard errors apart, more than {MOST_ERRORS}"
    )


def _gradient(model: ScoreModel, loss: Float[Tensor, ""]) -> Float64[Tensor, " P"]:
    """The gradient of a loss over all parameters."""
    parameters = list(model.parameters())
    return torch.cat([grad.flatten().double() for grad in torch.autograd.grad(loss, parameters)])
