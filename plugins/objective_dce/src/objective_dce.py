"""Denoising cross-entropy of absorb in its own variables: the number of masks, or the masked fraction."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.evaluation import masks_only
from sedd_core.maths import Draws
from sedd_core.stages import Batch, Graph, Noise, Objective, ScoreNetwork


class DenoisingCrossEntropy(Objective):
    """RADD's k-DCE and lambda-DCE, whose expectation is the whole likelihood bound, at all noise.

    With lambda = 1 - exp(-sigma) the bound is the integral over lambda in (0, 1) of E[sum_masks -log c] / lambda, where
    each of L positions is masked with probability lambda; or the mean over k in 1 .. L of L / k times the expected sum
    over k masks, with lambda ~ Beta(k, L - k + 1) for networks that read the noise. Under a mean head
    -log c = expm1(sigma) times the score entropy; other heads' loss is the latter.

    Args:
        form: Variable of the integral: k, exact numbers of masks, uniform in 1 .. L; or lambda, the probability of a
            mask, uniform in (0, 1).

    Source: Ou et al., Your Absorbing Discrete Diffusion Secretly Models the Conditional Distributions of Clean Data
        (RADD, arXiv 2406.03736), equations 3.3 to 3.5.
    """

    def __init__(self, *, form: Literal["k", "lambda"] = "k") -> None:
        self.form = form

    def bound_factor(self, t_min: float) -> float:
        """1: the mean over lambda in (0, 1), or over k, is the integral."""
        return 1.0

    def noise_range(self, noise: Noise, t_min: float) -> tuple[float, float]:
        """All noise; absorb has no prior term."""
        return 0.0, float("inf")

    def incompatibility(self, graph: Graph) -> str | None:
        """Masks must be all of the noise."""
        return None if masks_only(graph) else "numbers of masks are all of the noise on absorb alone"

    def losses(
        self, model: ScoreNetwork, noise: Noise, batch: Batch, draws: Draws, t_min: float
    ) -> Float64[Tensor, " B"]:
        """See `Objective.losses`; t_min has no effect."""
        free = batch.full_loss_mask()
        masked, share, weight = self.masks(free, draws)
        level = noise.at_sigma(-torch.log1p(-share))
        x = torch.where(masked, torch.full_like(batch.tokens, model.graph.mask or 0), batch.tokens)
        weight = weight * torch.expm1(level.sigma)
        return model.score_entropy(x, batch.tokens, level, masked, batch.cond, batch.documents, weight)

    def masks(
        self, free: Bool[Tensor, "B L"], draws: Draws
    ) -> tuple[Bool[Tensor, "B L"], Float64[Tensor, " B"], Float64[Tensor, " B"]]:
        """Draw the masks.

        Args:
            free: Positions [B, L] that may be masked.
            draws: Random numbers of the sequences.

        Returns:
            Masked positions [B, L], the noise as the probability lambda of a mask [B], the weight of each sequence [B].
        """
        chosen, uniform = draws.strata("time"), draws.uniform("perturb", free.shape[1])
        if self.form == "lambda":
            return free & (uniform < chosen[:, None]), chosen, 1 / chosen
        length = free.sum(-1)
        count = torch.minimum(1 + (length * chosen).long(), length)
        thresholds = torch.where(free, uniform, 2.0).sort(-1).values  # the count-th smallest is Beta(k, L - k + 1)
        share = thresholds.gather(-1, (count[:, None] - 1).clamp(min=0))[:, 0].where(length > 0, 0.5)
        return free & (uniform <= share[:, None]), share, length.double() / count.clamp(min=1)


@hookimpl
def sedd_objective() -> type[DenoisingCrossEntropy]:
    """The class of the objective `objective_dce`."""
    return DenoisingCrossEntropy
