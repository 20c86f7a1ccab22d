"""The linear noise schedule."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.testing import check_noise


@pytest.mark.parametrize("ends", [(0.0, 10.0), (1e-3, 0.5)])
def test_conformance(ends: tuple[float, float]) -> None:
    check_noise(plugin("noise_linear")(sigma_min=ends[0], sigma_max=ends[1]))


def test_the_ends() -> None:
    sigma = plugin("noise_linear")(sigma_min=0.5, sigma_max=3.0)(torch.tensor([0.0, 0.5, 1.0])).sigma
    assert sigma.tolist() == [0.5, 1.75, 3.0]


@pytest.mark.parametrize("ends", [(-1.0, 1.0), (2.0, 2.0), (3.0, 1.0)])
def test_invalid_ends_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="sigma_min must lie between 0 and sigma_max"):
        plugin("noise_linear")(sigma_min=ends[0], sigma_max=ends[1])
