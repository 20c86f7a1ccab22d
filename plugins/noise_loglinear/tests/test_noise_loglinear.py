"""The log-linear noise schedule."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.testing import check_noise


@pytest.mark.parametrize("eps", [1e-4, 1e-3, 0.3])
def test_conformance(eps: float) -> None:
    check_noise(plugin("noise_loglinear")(eps=eps))


def test_the_masked_fraction_is_linear_in_time() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    sigma = plugin("noise_loglinear")(eps=1e-3)(t).sigma
    torch.testing.assert_close(-torch.expm1(-sigma), (1 - 1e-3) * t, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("eps", [0.0, 1.0, -1.0])
def test_an_invalid_eps_is_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="eps must lie between"):
        plugin("noise_loglinear")(eps=eps)
