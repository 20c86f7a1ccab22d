"""The conformance check of objectives finds planted faults, and accepts an objective that is not the bound."""

from __future__ import annotations

import pytest
import torch
from objective_score_entropy import ScoreEntropy

from sedd_core import plugin
from sedd_core.stages import Objective
from sedd_core.testing import check_objective


class WrongScale(ScoreEntropy):
    """A part in ten thousand too much."""

    def integrand(self, model, x, level, batch):
        return 1.0001 * super().integrand(model, x, level, batch)


class WrongFactor(ScoreEntropy):
    """The mean over times is not the integral."""

    def bound_factor(self, t_min):
        return 1.0


class PerToken(ScoreEntropy):
    """Nats per token, not per sequence."""

    def integrand(self, model, x, level, batch):
        return super().integrand(model, x, level, batch) / 2


class Detached(ScoreEntropy):
    """The value is right, the gradient is not."""

    def integrand(self, model, x, level, batch):
        value = super().integrand(model, x, level, batch)
        return value.detach() + 0.99 * (value - value.detach())


class MasksIgnored(ScoreEntropy):
    """Padding is noised, and in the loss."""

    def losses(self, model, noise, batch, draws, t_min):
        return super().losses(model, noise, batch._replace(loss_mask=None), draws, t_min)


class Unaddressed(ScoreEntropy):
    """Draws that depend on where a sequence is in its batch."""

    def losses(self, model, noise, batch, draws, t_min):
        again = type(draws)(draws.seed, torch.arange(len(draws.indices)), draws.step)
        return super().losses(model, noise, batch, again, t_min)


class OtherTimes(ScoreEntropy):
    """Times that are not uniform: the integrand is right, the expectation of losses is not."""

    def times(self, draws, t_min):
        return t_min + (1 - t_min) * draws.strata("time") ** 2


class OtherTimesThanStated(ScoreEntropy):
    """The log would bin losses by wrong times."""

    def losses(self, model, noise, batch, draws, t_min):
        return super().losses(model, noise, batch, draws.part("other"), t_min)


class Unconditional(ScoreEntropy):
    """The network is not told the condition."""

    def integrand(self, model, x, level, batch):
        return super().integrand(model, x, level, batch._replace(cond=None))


class Joined(ScoreEntropy):
    """The network is not told the documents."""

    def integrand(self, model, x, level, batch):
        return super().integrand(model, x, level, batch._replace(documents=None))


class Constant(ScoreEntropy):
    """Nothing to learn from, and no bound."""

    def bound_factor(self, t_min):
        return None

    def integrand(self, model, x, level, batch):
        return 0 * super().integrand(model, x, level, batch)


class NoGradient(ScoreEntropy):
    """Nothing to backpropagate where nothing is noised."""

    def losses(self, model, noise, batch, draws, t_min):
        if batch.loss_mask is None or batch.loss_mask.any():
            return super().losses(model, noise, batch, draws, t_min)
        return torch.zeros(len(batch.tokens), dtype=torch.float64, requires_grad=True)


class OneLoss(ScoreEntropy):
    """The mean instead of one loss per sequence."""

    def losses(self, model, noise, batch, draws, t_min):
        return super().losses(model, noise, batch, draws, t_min).mean()[None]


class Silent(ScoreEntropy):
    """Not the bound, and does not say how it differs."""

    leaves_out = ""

    def bound_factor(self, t_min):
        return None


FAULTS: dict[type[Objective], str] = {
    WrongScale: "integral",
    WrongFactor: "integral",
    PerToken: "integral",
    Detached: "gradient",
    MasksIgnored: "without a position in the loss mask",
    Unaddressed: "addressed by the sequence's index",
    OtherTimes: "standard errors",
    OtherTimesThanStated: "times that `times` states",
    Unconditional: "batch.cond",
    Joined: "batch.documents",
    Constant: "must not be zero",
    NoGradient: "every parameter must get a gradient",
    OneLoss: "one entry per sequence",
    Silent: "leaves_out",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault: type[Objective]) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check(fault())


def check(objective: Objective) -> None:
    check_objective(
        objective, plugin("graph_absorb")(vocab_size=3), plugin("head_score")(), plugin("noise_loglinear")()
    )


class Unweighted(ScoreEntropy):
    """Score entropy without the weight dsigma/dt: a loss that is not the bound, and says so."""

    leaves_out = "the weight dsigma/dt"

    def bound_factor(self, t_min):
        return None

    def integrand(self, model, x, level, batch):
        return super().integrand(model, x, level, batch) / level.rate


def test_an_objective_that_is_not_the_bound_passes() -> None:
    check(Unweighted())
