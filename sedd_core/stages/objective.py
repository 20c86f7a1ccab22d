"""The objective stage: the loss whose gradient trains a network."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..maths.draws import Draws
from .data import Batch, restore_given
from .graph import Graph
from .network import ScoreNetwork
from .noise import Noise, NoiseLevel


class Objective(ABC):
    """Abstract loss of clean sequences. An objective holds no model, and draws all it needs from `draws`.

    A subclass states how its expectation relates to the likelihood bound: `leaves_out`, `bound_factor`, `noise_range`.
    """

    leaves_out: str = ""
    """What the expectation leaves out of the likelihood bound, or weighs otherwise, as a phrase; "": nothing."""

    @abstractmethod
    def bound_factor(self, t_min: float) -> float | None:
        """The expectation of the loss divided by the bound's integral over `noise_range`.

        Args:
            t_min: Smallest diffusion time.

        Returns:
            The factor, the same for every model; None if the expectation is not a multiple of that integral.
        """

    def noise_range(self, noise: Noise, t_min: float) -> tuple[float, float]:
        """The total noise between which the bound's integral is estimated: that of times in [t_min, 1].

        An objective of other noise levels overrides it. Over (0, inf) the integral is the whole bound where the prior
        term is 0 or infinite; see `Noise.at_sigma` for levels beyond the schedule.

        Args:
            noise: Noise schedule.
            t_min: Smallest diffusion time.
        """
        low, high = noise(torch.tensor([t_min, 1.0], dtype=torch.float64)).sigma.tolist()
        return low, high

    def incompatibility(self, graph: Graph) -> str | None:
        """The reason why the objective does not support a graph, as a clause; None if it does."""
        return None

    def times(self, draws: Draws, t_min: float) -> Float64[Tensor, " B"] | None:
        """The diffusion times [B] at which `losses` noises the sequences; None if a loss is not of one time.

        Args:
            draws: Random numbers of the sequences.
            t_min: Smallest diffusion time.
        """
        return None

    @abstractmethod
    def losses(
        self, model: ScoreNetwork, noise: Noise, batch: Batch, draws: Draws, t_min: float
    ) -> Float[Tensor, " B"]:
        """Estimate the loss [B] of each sequence, in nats; its gradient reaches every parameter of the model.

        Args:
            model: Network to train.
            noise: Noise schedule.
            batch: Clean sequences; positions outside of the loss mask are neither noised nor in the loss.
            draws: Random numbers of the sequences at this step; `draws.strata` are stratified over the global batch.
            t_min: Smallest diffusion time.
        """


class DenoisingObjective(Objective):
    """Abstract loss of sequences that are noised to one random time each: t ~ U(t_min, 1), x ~ q_t(. | x0)."""

    def times(self, draws: Draws, t_min: float) -> Float64[Tensor, " B"]:
        """See `Objective.times`."""
        return t_min + (1 - t_min) * draws.strata("time")

    def losses(
        self, model: ScoreNetwork, noise: Noise, batch: Batch, draws: Draws, t_min: float
    ) -> Float[Tensor, " B"]:
        """See `Objective.losses`."""
        level = noise(self.times(draws, t_min))
        x = restore_given(model.graph.perturb(batch.tokens, level, draws), batch.tokens, batch.loss_mask)
        return self.integrand(model, x, level, batch)

    @abstractmethod
    def integrand(
        self, model: ScoreNetwork, x: Int64[Tensor, "B L"], level: NoiseLevel, batch: Batch
    ) -> Float[Tensor, " B"]:
        """The loss [B] of noised sequences, in nats per unit of diffusion time.

        Args:
            model: Network to train.
            x: Noised states [B, L]; clean outside of the loss mask.
            level: Noise level [B] of x.
            batch: Clean sequences.
        """
