"""The cosine noise schedule."""

import math

import pytest
import torch

from sedd_core import plugin
from sedd_core.testing import check_noise
from tests.support.families import WHOLE, arrays, needs_whole


@pytest.mark.parametrize("eps", [1e-4, 1e-3, 0.1])
def test_conformance(eps: float) -> None:
    check_noise(plugin("noise_cosine")(eps=eps))


def test_it_keeps_its_digits_at_both_ends() -> None:
    """sigma ~ a near 0, exp(-sigma) ~ (pi/2 - a)^2 / 2 near 1: a plain -log(1 - sin a) has lost half of the digits."""
    noise, tiny = plugin("noise_cosine")(eps=1e-6), torch.tensor([1e-9], dtype=torch.float64)
    torch.testing.assert_close(noise(tiny).sigma, (1 - 1e-6) * math.pi / 2 * tiny, rtol=1e-8, atol=0)
    level = noise(torch.ones(1, dtype=torch.float64))
    gap = 1e-6 * math.pi / 2
    torch.testing.assert_close(torch.exp(-level.sigma).item(), gap**2 / 2 - gap**4 / 24, rtol=1e-9, atol=0)
    torch.testing.assert_close(noise.time(level.sigma).item(), 1.0, rtol=1e-12, atol=0)


@needs_whole
def test_duo_has_the_same_levels_and_leaves_a_factor_out_of_its_rate() -> None:
    """Their dalpha lacks 1 - eps (README of the golden data), so their rate is ours divided by .999."""
    golden = arrays(WHOLE / "duo" / "duo_cosine.npz")
    level = plugin("noise_cosine")()(golden["t"])
    torch.testing.assert_close(level.sigma, golden["sigma_f64"], rtol=1e-10, atol=1e-10)
    slope = -0.999 * golden["dalpha_f64"]
    torch.testing.assert_close(level.rate * torch.exp(-level.sigma), slope, rtol=1e-10, atol=1e-10)


@needs_whole
def test_md4_differs_in_its_ends_alone() -> None:
    """Their alpha is (1 - 2e) a(t) + e with a(t) the cosine schedule without an end of its own."""
    golden = arrays(WHOLE / "md4" / "md4_cosine.npz")
    alpha = torch.exp(-plugin("noise_cosine")(eps=1e-12)(golden["t"]).sigma)
    torch.testing.assert_close((1 - 2e-4) * alpha + 1e-4, golden["alpha_f64"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eps", [0.0, 1.0])
def test_invalid_settings_are_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="eps must lie"):
        plugin("noise_cosine")(eps=eps)
