"""A head and its loss, forward and backward, without a trunk: what head_loss, head_memory and accuracy measure."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sedd_core import plugin
from sedd_core.maths import linear_entropy
from sedd_core.maths.logit_blocks import LogitBlocks
from sedd_core.stages import Batch

from .naive import loss_of_batch
from .pairs import Features, Pair, pair, states_of


@dataclass(frozen=True)
class HeadWork:
    """Features, states and times of a loss in which every row counts."""

    both: Pair
    """The process and the head."""
    tokens: Int64[Tensor, "B L"]
    """Clean tokens."""
    x: Int64[Tensor, "B L"]
    """Noised states: masks for absorb; for uniform half of them moved."""
    t: Float[Tensor, " B"]
    """Times, one in each of B equal parts."""
    bf16: bool
    """Whether products are in bf16."""

    def ours(self) -> Float[Tensor, " B"]:
        """Our loss [B] of each sequence, through the objective."""
        objective, level = plugin("objective_score_entropy")(), self.both.noise(self.t)
        with torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.bf16):
            return objective.integrand(self.both.model, self.x, level, Batch(self.tokens))

    def naive(self) -> Float[Tensor, " B"]:
        """The naive loss [B] of each sequence."""
        return loss_of_batch(
            self.both.naive, self.both.naive_graph, self.both.naive_noise, self.tokens, t=self.t, x=self.x
        )

    def chunked(self) -> Float[Tensor, " B"]:
        """Our loss [B] without its Triton kernel, from the same blocks of states."""
        with mock.patch.object(linear_entropy, "TRITON", False):
            return self.ours()

    def has_kernel(self) -> bool:
        """Whether our loss runs with its Triton kernel here."""
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        return linear_entropy.blocks_for(self.x.device, dtype) is not LogitBlocks

    def backward(self, name: str) -> None:
        """The gradient of the mean loss in features, weight and bias.

        Args:
            name: "ours", "chunked" or "naive".
        """
        self.both.model.zero_grad()
        getattr(self, name)().mean().backward()


def head_work(
    graph: str, precision: str, rows: tuple[int, int], width: int, vocab: int, device: torch.device, *, seed: int = 0
) -> HeadWork:
    """A head with random weights, features and states.

    Args:
        graph: "absorb" or "uniform".
        precision: "fp32" or "bf16".
        rows: Shape (B, L) of the positions.
        width: Width D of the features.
        vocab: Vocabulary size V.
        device: Device.
        seed: Random seed.
    """
    torch.manual_seed(seed)
    features = Features(rows, width, states_of(graph, vocab))
    tokens = torch.randint(vocab, rows)
    moved = torch.rand(rows) < 0.5
    x = torch.full(rows, vocab) if graph == "absorb" else torch.where(moved, torch.randint(vocab, rows), tokens)
    t = (torch.arange(rows[0]) + 0.5) / rows[0]
    both = pair(graph, vocab, features, device, bf16=precision == "bf16")
    return HeadWork(both, tokens.to(device), x.to(device), t.to(device), precision == "bf16")
