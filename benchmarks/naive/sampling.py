"""The published samplers: weights of all S states at all positions, and a race of exponentials in float32."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from .graphs import NaiveGraph
from .noise import Schedule

Kind = Literal["euler", "analytic", "denoiser"]
T_MIN = 1e-5
"""Time at which the last step ends, before the denoiser."""


def step_weights(
    kind: Kind,
    score: Float[Tensor, "B L S"],
    x: Int64[Tensor, "B L"],
    t: Float[Tensor, "B 1"],
    step_size: float,
    graph: NaiveGraph,
    noise: Schedule,
) -> Float[Tensor, "B L S"]:
    """The weights [B, L, S] of each position's next state, which may be negative and need not sum to 1.

    Args:
        kind: An Euler step, an analytic step, or the analytic step to zero noise, never to the mask.
        score: Scores [B, L, S] at the states x and the times t.
        x: States [B, L].
        t: Times [B, 1].
        step_size: Difference in time.
        graph: Forward process.
        noise: Noise schedule.
    """
    sigma, rate = noise(t)
    if kind == "euler":
        moved = step_size * rate[..., None] * graph.reverse_rate(x, score)
        return F.one_hot(x, graph.states).to(moved) + moved
    elapsed = sigma - noise(t - step_size)[0] if kind == "analytic" else sigma
    weights = graph.staggered(score, elapsed) * graph.transition_into(x, elapsed)
    return weights[..., :-1] if kind == "denoiser" and graph.masked else weights


def race(weights: Float[Tensor, "*shape S"]) -> Int64[Tensor, "*shape"]:
    """One state [...] per row: the largest weight over an exponential number, from uniform float32 numbers."""
    return (weights / (1e-10 - (torch.rand_like(weights) + 1e-10).log())).argmax(-1)


@torch.no_grad()
def draw(
    model: nn.Module,
    graph: NaiveGraph,
    noise: Schedule,
    *,
    batch: int,
    length: int,
    steps: int,
    kind: Kind = "analytic",
    device: torch.device,
) -> Int64[Tensor, "B L"]:
    """Draw sequences [B, L] in equal steps from time 1, and denoise them.

    Args:
        model: Module from states [B, L] and total noise [B] to log-scores [B, L, S].
        graph: Forward process.
        noise: Noise schedule.
        batch: Number B of sequences.
        length: Number L of tokens per sequence.
        steps: Number of steps.
        kind: Kind of the steps before the denoiser.
        device: Where to draw.
    """
    x = graph.prior(batch, length, device)
    for index, time in enumerate(torch.linspace(1, T_MIN, steps + 1, device=device)):
        t = time.expand(batch, 1)
        score = model(x, noise(t)[0][:, 0]).exp()
        x = race(step_weights(kind if index < steps else "denoiser", score, x, t, (1 - T_MIN) / steps, graph, noise))
    return x
