"""Noise schedules against the original's figures."""

from __future__ import annotations

import pytest
import torch

from sedd_core import plugin
from sedd_core.stages import Noise
from tests.support.golden_figures import arrays, close

GOLDEN = arrays("noise")
SCHEDULES = {
    "loglinear_eps0.001": plugin("noise_loglinear")(eps=1e-3),
    **{
        f"geometric_{low:g}_{high:g}": plugin("noise_geometric")(sigma_min=low, sigma_max=high)
        for low, high in [(1e-3, 1.0), (1e-4, 20.0), (1e-3, 20.0), (1e-4, 1.0)]
    },
}


def check(noise: Noise, name: str) -> None:
    level = noise(GOLDEN["t"])
    close(level.sigma, GOLDEN[f"{name}__total_f64"], rtol=2e-6)
    close(level.rate, GOLDEN[f"{name}__rate_f64"], rtol=2e-6)
    close(level.sigma.float(), GOLDEN[f"{name}__total"], rtol=1e-5, atol=1e-7)  # what the original prints
    close(level.rate.float(), GOLDEN[f"{name}__rate"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_total_and_rate(name: str) -> None:
    check(SCHEDULES[name], name)


def test_every_golden_schedule_is_checked() -> None:
    assert {key.split("__")[0] for key in GOLDEN} - {"t"} == set(SCHEDULES)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (plugin("noise_loglinear")(eps=1.01e-3), "loglinear_eps0.001"),
        (plugin("noise_geometric")(sigma_min=1.0001e-4), "geometric_0.0001_20"),
    ],
)
def test_the_check_sees_planted_faults(fault: Noise, name: str) -> None:
    with pytest.raises(AssertionError):
        check(fault, name)


def test_a_difference_of_sigmas_keeps_its_digits() -> None:
    noise = plugin("noise_loglinear")()
    t = torch.tensor([0.5, 0.5 - 1e-9], dtype=torch.float64)
    later, earlier = noise(t).sigma
    assert (later - earlier).item() == pytest.approx(1e-9 * noise(t).rate[0].item(), rel=1e-6)
