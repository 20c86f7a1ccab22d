"""The sampler of LLaDA: the surest tokens are unmasked first, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.evaluation import masks_only
from sedd_core.maths import Draws, categorical, row_chunks, row_scores, sharpen
from sedd_core.stages import FixedTokens, Graph, NoiseLevel, Sampler, ScoreFunction


class Turn(NamedTuple):
    """What one step is to unmask."""

    positions: Bool[Tensor, "B L"]
    """Positions of each sequence's current block."""
    steps: Int64[Tensor, " B"]
    """Number of steps left for the block, this one included."""


class Confidence(Sampler):
    """Low-confidence remasking: each step draws all masked tokens, and keeps those of the largest probability.

    Equal numbers are kept per step, the larger ones first. Samples do not have the model's distribution: the order
    depends on what is drawn, tokens of one step are drawn independently, and a temperature below 1 sharpens.

    Args:
        block_length: Tokens per block, counted from the first masked position of a sequence; blocks are completed from
            left to right, with equal numbers of steps. 0: one block.
        temperature: Temperature of the draws (power 1 / temperature of the probabilities); 0: the likeliest token.

    Raises:
        ValueError: block_length or temperature is negative.

    Source: Nie et al., Large Language Diffusion Models (arXiv 2502.09992), section 2.4 and its code; the order by
        confidence is MaskGIT's (Chang et al., arXiv 2202.04200).
    """

    graphs = "absorb"
    marginal = "not followed: the surest tokens come first"

    def __init__(self, *, block_length: int = 0, temperature: float = 0.0) -> None:
        super().__init__()
        if block_length < 0:
            raise ValueError(f"block_length must be at least 0, not {block_length}")
        if temperature < 0:
            raise ValueError(f"temperature must be at least 0, not {temperature}")
        self.block_length, self.temperature = block_length, temperature

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
        order = confidence.masked_fill(~candidates, -1.0).argsort(dim=-1, descending=True, stable=True)
        chosen = order.argsort(-1) < count[:, None]
        return torch.where(chosen, tokens, x)

    def _drawn(
        self, x: Int64[Tensor, "B L"], level: NoiseLevel, score_fn: ScoreFunction, graph: Graph, draws: Draws
    ) -> tuple[Int64[Tensor, "B L"], Float[Tensor, "B L"]]:
        """A token for each masked position, and its probability; x and 0 elsewhere."""
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
            confidence[part] = probs.gather(-1, tokens[part][:, None])[:, 0].to(confidence.dtype)
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
