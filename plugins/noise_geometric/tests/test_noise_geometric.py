"""The geometric noise schedule."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.testing import check_noise


@pytest.mark.parametrize("bounds", [(1e-5, 20.0), (1e-4, 20.0), (0.1, 1.0)])
def test_conformance(bounds: tuple[float, float]) -> None:
    check_noise(plugin("noise_geometric")(sigma_min=bounds[0], sigma_max=bounds[1]))


def test_sigma_at_both_ends_and_the_middle() -> None:
    sigma = plugin("noise_geometric")(sigma_min=1e-4, sigma_max=25.0)(torch.tensor([0.0, 0.5, 1.0])).sigma
    torch.testing.assert_close(sigma, torch.tensor([1e-4, 0.05, 25.0], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, float("inf"))])
def test_invalid_bounds_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        plugin("noise_geometric")(sigma_min=bounds[0], sigma_max=bounds[1])
