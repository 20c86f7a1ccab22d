"""The two published processes as dense tensors over all S states at all positions.

Levels `sigma` have the shape [B, 1], states x and x0 [B, L].
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


def noise_ratio(sigma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """exp(sigma) - 1, by the form that keeps its digits on each side of 1/2."""
    return torch.where(sigma < 0.5, torch.expm1(sigma), sigma.exp() - 1)


def pick(values: Float[Tensor, "*shape S"], states: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The entry [...] of each row of values [..., S] at one state."""
    return values.gather(-1, states[..., None])[..., 0]


class NaiveGraph(ABC):
    """A process over `states` states, the last of which is the mask if there is one.

    Args:
        states: Number S of states.
    """

    masked = False

    def __init__(self, states: int) -> None:
        self.states = states

    @abstractmethod
    def entropy(
        self,
        log_score: Float[Tensor, "B L S"],
        sigma: Float[Tensor, "B 1"],
        x: Int64[Tensor, "B L"],
        x0: Int64[Tensor, "B L"],
    ) -> Float[Tensor, "B L"]:
        """Score entropy [B, L] of each position."""

    @abstractmethod
    def perturb(self, x0: Int64[Tensor, "B L"], sigma: Float[Tensor, "B 1"]) -> Int64[Tensor, "B L"]:
        """Noised states [B, L] of clean tokens."""

    @abstractmethod
    def prior(self, batch: int, length: int, device: torch.device) -> Int64[Tensor, "B L"]:
        """States [B, L] at the end of the noise."""

    @abstractmethod
    def rate_into(self, x: Int64[Tensor, "B L"]) -> Tensor:
        """Rates [B, L, S] from each state into x; minus the rate of leaving at y = x."""

    @abstractmethod
    def transition_into(self, x: Int64[Tensor, "B L"], elapsed: Float[Tensor, "B 1"]) -> Float[Tensor, "B L S"]:
        """Probabilities [B, L, S] that each state becomes x after some noise."""

    @abstractmethod
    def staggered(self, score: Float[Tensor, "B L S"], elapsed: Float[Tensor, "B 1"]) -> Float[Tensor, "B L S"]:
        """Scores [B, L, S] before the last `elapsed` noise was added."""

    def reverse_rate(self, x: Int64[Tensor, "B L"], score: Float[Tensor, "B L S"]) -> Float[Tensor, "B L S"]:
        """Rates [B, L, S] of the reverse process from x into each state; rows sum to 0."""
        rate = self.rate_into(x) * score
        rate.scatter_(-1, x[..., None], torch.zeros_like(rate))
        return rate.scatter_(-1, x[..., None], -rate.sum(-1, keepdim=True))


class NaiveAbsorb(NaiveGraph):
    """Tokens become the mask, the last state, at rate 1."""

    masked = True

    def entropy(
        self,
        log_score: Float[Tensor, "B L S"],
        sigma: Float[Tensor, "B 1"],
        x: Int64[Tensor, "B L"],
        x0: Int64[Tensor, "B L"],
    ) -> Float[Tensor, "B L"]:
        """At masks sum_y s_y - r log s_x0 + r (log r - 1) with r = 1 / (exp(sigma) - 1); the rows are indexed twice."""
        masks = x == self.states - 1
        ratio = 1 / noise_ratio(sigma).expand_as(x)[masks]
        negative = ratio * pick(log_score[masks], x0[masks])
        positive = log_score[masks][:, :-1].exp().sum(-1)
        entropy = torch.zeros(x.shape, device=x.device, dtype=ratio.dtype)
        entropy[masks] += positive - negative + ratio * (ratio.log() - 1)
        return entropy

    def perturb(self, x0: Int64[Tensor, "B L"], sigma: Float[Tensor, "B 1"]) -> Int64[Tensor, "B L"]:
        """Masks with probability 1 - exp(-sigma)."""
        moved = torch.rand(x0.shape, device=x0.device) < 1 - (-sigma).exp()
        return torch.where(moved, self.states - 1, x0)

    def prior(self, batch: int, length: int, device: torch.device) -> Int64[Tensor, "B L"]:
        """Masks only."""
        return torch.full((batch, length), self.states - 1, device=device)

    def rate_into(self, x: Int64[Tensor, "B L"]) -> Int64[Tensor, "B L S"]:
        """[x is the mask] - [y = x], in int64 as published."""
        rate = -F.one_hot(x, self.states)
        rate[x == self.states - 1] += 1
        return rate

    def transition_into(self, x: Int64[Tensor, "B L"], elapsed: Float[Tensor, "B 1"]) -> Float[Tensor, "B L S"]:
        """exp(-e) [y = x], plus 1 - exp(-e) in all of a mask's row."""
        kept = (-elapsed)[..., None].exp() * F.one_hot(x, self.states)
        return kept + torch.where(x == self.states - 1, 1 - (-elapsed).exp(), 0.0)[..., None]

    def staggered(self, score: Float[Tensor, "B L S"], elapsed: Float[Tensor, "B 1"]) -> Float[Tensor, "B L S"]:
        """exp(e) s_y, minus (exp(e) - 1) sum_y s_y at the mask."""
        score = score.clone()
        from_tokens = (1 - elapsed.exp()) * score.sum(-1)
        score *= elapsed.exp()[..., None]
        score[..., -1] += from_tokens
        return score


class NaiveUniform(NaiveGraph):
    """Every token becomes any other at rate 1 / S."""

    def entropy(
        self,
        log_score: Float[Tensor, "B L S"],
        sigma: Float[Tensor, "B 1"],
        x: Int64[Tensor, "B L"],
        x0: Int64[Tensor, "B L"],
    ) -> Float[Tensor, "B L"]:
        """1/S sum_{y != x} (s_y - r_y log s_y + r_y (log r_y - 1)), r = (exp(sigma) - 1) / (exp(sigma) - 1 + S).

        r_y = r if x = x0; else 1 / r at x0, and 1 elsewhere. A mean of all logits, an exponential and its mean are
        three passes of their own.
        """
        states, grown = self.states, noise_ratio(sigma)
        ratio, clean = 1 - states / (grown + states), x == x0
        negative = log_score.mean(-1) - pick(log_score, x) / states
        negative = torch.where(clean, ratio * negative, pick(log_score, x0) / grown + negative)
        score = log_score.exp()
        positive = score.mean(-1) - pick(score, x) / states
        of_clean = (states - 1) / states * ratio * (ratio.log() - 1)
        of_moved = ((-ratio.log() - 1) / ratio - (states - 2)) / states
        return positive - negative + torch.where(clean, of_clean, of_moved)

    def perturb(self, x0: Int64[Tensor, "B L"], sigma: Float[Tensor, "B 1"]) -> Int64[Tensor, "B L"]:
        """Any token with probability 1 - exp(-sigma)."""
        moved = torch.rand(x0.shape, device=x0.device) < 1 - (-sigma).exp()
        return torch.where(moved, torch.randint_like(x0, self.states), x0)

    def prior(self, batch: int, length: int, device: torch.device) -> Int64[Tensor, "B L"]:
        """Uniform tokens."""
        return torch.randint(self.states, (batch, length), device=device)

    def rate_into(self, x: Int64[Tensor, "B L"]) -> Float[Tensor, "B L S"]:
        """1 / S, and 1 / S - 1 at y = x."""
        rate = torch.ones(*x.shape, self.states, device=x.device) / self.states
        return rate.scatter(-1, x[..., None], 1 / self.states - 1)

    def transition_into(self, x: Int64[Tensor, "B L"], elapsed: Float[Tensor, "B 1"]) -> Float[Tensor, "B L S"]:
        """(1 - exp(-e)) / S; at y = x the rest of the row."""
        probs = torch.ones(*x.shape, self.states, device=x.device) * (1 - (-elapsed[..., None]).exp()) / self.states
        probs = probs.scatter(-1, x[..., None], torch.zeros_like(probs))
        return probs.scatter(-1, x[..., None], 1 - probs.sum(-1, keepdim=True))

    def staggered(self, score: Float[Tensor, "B L S"], elapsed: Float[Tensor, "B 1"]) -> Float[Tensor, "B L S"]:
        """exp(e) s_y - (exp(e) - 1) / S sum_y s_y."""
        kept = (-elapsed).exp()[..., None]
        return (kept - 1) / (self.states * kept) * score.sum(-1, keepdim=True) + score / kept
