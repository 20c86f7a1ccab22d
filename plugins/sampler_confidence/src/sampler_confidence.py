"""The sampler of LLaDA: the surest tokens are unmasked first, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.evaluation import masks_only
from sedd_core.maths import Draws, categorical, row_chunks, row_scores, sharpen
from sedd_core.stages import FixedTokens, Graph, NoiseLevel, Sampler, ScoreFunction

Sureness = Literal["drawn", "maximum", "margin", "entropy"]


class Turn(NamedTuple):
    """What one step is to unmask."""

    positions: Bool[Tensor, "B L"]
    """Positions of each sequence's current block."""
    steps: Int64[Tensor, " B"]
    """Number of steps left for the block, this one included."""


class Confidence(Sampler):
    """Low-confidence remasking: each step draws all masked tokens, and keeps those of the largest probability.

    Equal numbers are kept per step at least, the larger ones first. By default samples do not have the model's
    distribution: the order depends on what is drawn, tokens of one step are drawn independently, and a temperature
    below 1 sharpens.

    Args:
        block_length: Tokens per block, counted from the first masked position of a sequence; blocks are completed from
            left to right, with equal numbers of steps. 0: one block.
        temperature: Temperature of the draws (power 1 / temperature of the probabilities); 0: the likeliest token.
        sureness: Measure of it: the probability of the drawn token (drawn, LLaDA's), that of the likeliest (maximum),
            its lead over the second (margin), or a small entropy (entropy). The last three disregard the draws:
            with one token per step at temperature 1, samples then have the model's distribution exactly.
        threshold: Sureness in the terms of `sureness` (entropy: minus nats) from which further tokens of a block are
            kept in the same step; None: none.
        entropy_bound: With sureness=entropy, further tokens are kept as long as the sum of the entropies of those kept,
            without the largest, is at most this many nats; None: none.

    Raises:
        ValueError: block_length or temperature is negative, or entropy_bound is set with another sureness.

    Source: Nie et al., Large Language Diffusion Models (arXiv 2502.09992), section 2.4 and its code; the order by
        confidence is MaskGIT's (Chang et al., arXiv 2202.04200). margin: Kim et al. (arXiv 2502.06768); entropy bound:
        Ben-Hamu et al. (arXiv 2505.24857).
    """

    graphs = "absorb"
    marginal = "not followed; exact with one token per step, temperature 1, and a sureness other than drawn"

    def __init__(
        self,
        *,
        block_length: int = 0,
        temperature: float = 0.0,
        sureness: Sureness = "drawn",
        threshold: float | None = None,
        entropy_bound: float | None = None,
    ) -> None:
        super().__init__()
        if block_length < 0:
            raise ValueError(f"block_length must be at least 0, not {block_length}")
        if temperature < 0:
            raise ValueError(f"temperature must be at least 0, not {temperature}")
        if entropy_bound is not None and sureness != "entropy":
            raise ValueError(f"entropy_bound={entropy_bound} needs sureness='entropy', not '{sureness}'")
        self.block_length, self.temperature = block_length, temperature
        self.sureness: Sureness = sureness
        self.threshold, self.entropy_bound = threshold, entropy_bound

    def incompatibility(self, graph: Graph) -> str | None:
        """It needs a process that masks tokens and does nothing else."""
        return None if masks_only(graph) else "its steps unmask tokens for good, and do nothing else"

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
        """Unmask all positions in the number of steps of the levels. Args: see `Sampler.run`.

        Raises:
            UserError: There are fewer steps than blocks.
        """
        keep = fixed_tokens.apply if fixed_tokens else lambda x: x
        x, steps = keep(x), len(levels.sigma) - 1
        on_step(x)
        blocks = self._blocks(graph.reachable(x, levels.pick(0).at(x[:, 0])), steps)
        for index in range(steps):
            level, level_next = (levels.pick(i).at(x[:, 0]) for i in (index, index + 1))
            turn = _turn(blocks, index, steps)
            x = keep(self.step(x, level, level_next, score_fn, graph, draws.at(index), turn))
            on_step(x)
        on_step(x)
        return x

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
        """Unmask the surest tokens of the turn in `state`; None: of one block, in steps as long as this one."""
        masked = graph.reachable(x, level)
        if state is None:
            state = Turn(masked, (level.t / (level.t - level_next.t)).round().long())
        tokens, confidence = self._drawn(x, level, score_fn, graph, draws)
        candidates = masked & state.positions
        count = -(-candidates.sum(-1) // state.steps)
        ranked = confidence.masked_fill(~candidates, -torch.inf).sort(dim=-1, descending=True, stable=True)
        kept = torch.arange(x.shape[1], device=x.device) < count[:, None]
        if self.threshold is not None:
            kept = kept | (ranked.values >= self.threshold)
        if self.entropy_bound is not None:
            before = -ranked.values.cumsum(-1) + ranked.values  # the largest so far is the last
            kept = kept | (before <= self.entropy_bound)
        chosen = torch.zeros_like(kept).scatter(-1, ranked.indices, kept) & candidates
        return torch.where(chosen, tokens, x)

    def _drawn(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, score_fn: ScoreFunction, graph: Graph, draws: Draws
    ) -> tuple[Int64[Tensor, "B L"], Float[Tensor, "B L"]]:
        """A token for each masked position, and how sure it is; x and 0 elsewhere."""
        positions = graph.reachable(x, level)
        current, log_score = x[positions], score_fn(x, level, positions)
        level, uniform = level.at(x, positions), draws.uniform("token", x.shape[1])[positions]
        tokens, confidence = current.clone(), torch.zeros_like(log_score[:, 0])
        for part in row_chunks(len(log_score), log_score.shape[-1], log_score.device):
            probs = graph.mean_from_score(row_scores(log_score[part], current[part]), current[part], level.pick(part))
            if self.temperature == 0:
                tokens[part] = probs.argmax(-1)
            else:
                tokens[part] = categorical(sharpen(probs, self.temperature, 1.0), uniform[part])
            confidence[part] = _sureness(probs, tokens[part], self.sureness).to(confidence.dtype)
        self.stats.calls += 1
        self.stats.positions += len(current)
        zeros = torch.zeros_like(x, dtype=confidence.dtype)
        return x.masked_scatter(positions, tokens), zeros.masked_scatter(positions, confidence)

    def _blocks(self, masked: Bool[Tensor, "B L"], steps: int) -> Int64[Tensor, "B L"]:
        """The block [B, L] of each masked position, -1 elsewhere. UserError for too few steps."""
        index = torch.arange(masked.shape[1], device=masked.device)
        first = torch.where(masked, index, masked.shape[1]).amin(-1, keepdim=True)
        size = self.block_length or masked.shape[1]
        blocks = torch.where(masked, (index - first) // size, -1)
        most = int(blocks.max()) + 1
        if most > steps:
            raise UserError(
                f"{steps} sampling steps are too few for {most} blocks of {size} tokens: each block needs one. Set "
                "more steps, or a larger sampler.block_length."
            )
        return blocks


def _sureness(probs: Float[Tensor, "N V"], tokens: Int64[Tensor, " N"], sureness: Sureness) -> Float[Tensor, " N"]:
    """How sure a position is, from its distribution and, with sureness=drawn, the token drawn from it."""
    if sureness == "drawn":
        return probs.gather(-1, tokens[:, None])[:, 0]
    if sureness == "entropy":
        return torch.xlogy(probs, probs).sum(-1)
    first, second = probs.topk(2, -1).values.unbind(-1)
    return first if sureness == "maximum" else first - second


def _turn(blocks: Int64[Tensor, "B L"], index: int, steps: int) -> Turn:
    """The turn of a step: of n blocks in N steps, block j has the steps from j N / n on."""
    count = (blocks.amax(-1) + 1).clamp(min=1)
    now = index * count // steps
    end = -(-(now + 1) * steps // count)
    return Turn(blocks == now[:, None], end - index)


@hookimpl
def sedd_sampler() -> type[Sampler]:
    """The class of this plugin."""
    return Confidence
