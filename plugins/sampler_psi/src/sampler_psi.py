"""The psi sampler: a step goes back along the posterior, or denoises and noises again (ReMDM)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.evaluation import masks_only
from sedd_core.maths import Draws
from sedd_core.stages import (
    FactorizedSampler,
    FixedTokens,
    Graph,
    NoiseLevel,
    Sampler,
    ScoreFunction,
    Step,
    StepWeights,
)

Mode = Literal["kappa", "constant", "cap", "rescale", "conf"]


class Psi(FactorizedSampler):
    """kappa q(x_s | x_t) + (1 - kappa) q_s(. | x0), x0 ~ q(x0 | x_t), at each position, from noise t to s.

    kappa 1 is the analytic sampler. On absorb this is ReMDM, which remasks tokens with probability
    eta = (1 - kappa)(1 - alpha_s), at most m = min(1, (1 - alpha_s) / alpha_t); alpha = exp(-sigma).

    Args:
        mode: Meaning of `strength`: with kappa, kappa itself; all others set eta. constant: strength; cap:
            min(strength, m); rescale: strength min(strength, m); conf (absorb): strength m, divided among the tokens
            in place by the softmax of minus the probability that each was drawn with.
        strength: Number in [0, 1] that `mode` uses.
        loop: Share in [0, 1) of the steps that stay at one noise level; above 0, only they remask.
        loop_alpha: Share alpha of original tokens at that noise level.
        temperature: Temperature of the distribution of jump targets.
        top_p: Share in (0, 1] of the jump targets' probability that is kept.

    Raises:
        ValueError: strength, loop, temperature or top_p is out of range.

    Source: kappa: Deschenaux et al. (arXiv 2602.21185). eta: Wang et al. (arXiv 2503.00307), section 4.
    """

    marginal = "followed: at first order with kappa 1, at order 1/2 with others; with conf not"

    def __init__(
        self,
        *,
        mode: Mode = "cap",
        strength: float = 0.02,
        loop: float = 0.0,
        loop_alpha: float = 0.9,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        super().__init__(temperature=temperature, top_p=top_p)
        if not (0 <= strength <= 1 and 0 <= loop < 1):
            raise ValueError(f"strength must lie in [0, 1] and loop in [0, 1), not {strength} and {loop}")
        self.mode, self.strength, self.loop, self.loop_alpha = mode, strength, loop, loop_alpha

    def incompatibility(self, graph: Graph) -> str | None:
        """mode=conf needs a mask, and tokens that nothing else changes."""
        masking = self.mode != "conf" or masks_only(graph)
        return None if masking else "mode=conf is defined for processes that only mask tokens"

    def init(self, x: Int64[Tensor, "B L"], graph: Graph) -> Float64[Tensor, "B L"]:
        """The probability with which each token was drawn: 1 at first."""
        return torch.ones(x.shape, dtype=torch.float64, device=x.device)

    def movable(self, x: Int64[Tensor, "B L"], level: NoiseLevel, graph: Graph) -> Bool[Tensor, "B L"]:
        """All positions: tokens in place may be noised again."""
        return torch.ones_like(x, dtype=torch.bool)

    def eta(self, step: Step) -> Float64[Tensor, "*shape"]:
        """Probability of remasking a token (for conf: the sum over the tokens of a sequence)."""
        most = (-torch.expm1(-step.level_next.sigma) * step.level.sigma.exp()).clamp(max=1.0)
        most = torch.ones_like(most) if self.mode == "constant" else most
        eta = self.strength * most if self.mode == "conf" else most.clamp(max=self.strength)
        eta = self.strength * eta if self.mode == "rescale" else eta
        return eta.masked_fill(step.level.sigma > step.level_next.sigma, 0.0) if self.loop else eta

    def kappa(self, step: Step, graph: Graph) -> Float64[Tensor, "*shape"]:
        """kappa; with a mask at least 1 - 1 / alpha_t, where all masks are removed, else at least 0."""
        now = step.level.sigma
        least = -torch.expm1(now) if graph.mask is not None else torch.zeros_like(now)
        if self.mode == "conf":
            return torch.ones_like(now)
        if self.mode == "kappa":
            plain = now > step.level_next.sigma if self.loop else torch.zeros_like(now, dtype=torch.bool)
            return torch.full_like(now, self.strength).masked_fill(plain, 1.0)
        return (1 + self.eta(step) / torch.expm1(-step.level_next.sigma)).maximum(least)

    def step_weights(self, x: Int[Tensor, " N"], score: Float[Tensor, "N S"], step: Step, graph: Graph) -> StepWeights:
        """The mixture (with mode=conf, before remasking); states that noise cannot lead to are clean at any score."""
        here = torch.zeros_like(score).scatter(-1, x[:, None], 1.0)
        score = score.where(graph.reachable(x, step.level)[:, None], here)
        posterior, total = graph.posterior_weights(x, score, *step)
        clean = step.level._replace(sigma=torch.zeros_like(step.level.sigma))
        mean = graph.posterior_weights(x, score, step.level, clean).values[:, : graph.vocab_size]
        noised = graph.score_from_mean((mean / mean.sum(-1, keepdim=True)).log(), x, step.level_next).softmax(-1)
        mass, kappa = posterior.sum(-1), self.kappa(step, graph)[:, None].to(score.dtype)
        values = kappa * posterior / mass[:, None] + (1 - kappa) * noised
        return StepWeights(values.clamp(min=0), total / mass)

    def step(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        level_next: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
        draws: Draws,
        state: Any = None,
    ) -> Int64[Tensor, "B L"]:
        """Draw from `step_weights`; with mode=conf, remask afterwards, and keep the new tokens' probabilities."""
        if self.mode != "conf":
            return super().step(x, level, level_next, score_fn, graph, draws)
        log_score = score_fn(x, level)
        moved = super().step(x, level, level_next, lambda x, level, positions=None: log_score[positions], graph, draws)
        masked, eta = x == graph.mask, self.eta(Step(level, level_next)).view(len(x), -1)
        share = (-state).masked_fill(masked, -torch.inf).softmax(-1).nan_to_num()
        remasked = draws.uniform("remask", x.shape[1]) < eta * share
        among_tokens = log_score.scatter(-1, x[..., None], -torch.inf).softmax(-1)
        drawn = among_tokens.gather(-1, moved[..., None])[..., 0]
        state.copy_(torch.where(masked & (moved != x), drawn.to(state.dtype), state))
        return moved.masked_fill(remasked, graph.mask or 0)

    def run(
        self,
        x: Int64[Tensor, "B L"],
        levels: NoiseLevel,
        score_fn: ScoreFunction,
        graph: Graph,
        draws: Draws,
        fixed_tokens: FixedTokens | None = None,
        on_step: Callable[[Int64[Tensor, "B L"]], None] = lambda x: None,
    ) -> Int64[Tensor, "B L"]:
        """See `Sampler.run`; with a loop, a part of the steps stays at the level next to `loop_alpha`."""
        steps = len(levels.sigma) - 1
        staying = round(self.loop * steps)
        index = torch.linspace(0, steps, steps - staying + 1, device=x.device).round().long()
        nearest = (torch.exp(-levels.sigma[index]) - self.loop_alpha).abs().argmin()
        times = torch.ones_like(index).index_fill(0, nearest, 1 + staying)
        levels = levels.pick(index.repeat_interleave(times))
        return super().run(x, levels, score_fn, graph, draws, fixed_tokens, on_step)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Psi
