"""The polynomial noise schedule."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.testing import check_noise


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 5.0])
def test_conformance(power: float) -> None:
    check_noise(plugin("noise_polynomial")(power=power))


def test_the_replaced_fraction_is_a_power_of_time() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    level = plugin("noise_polynomial")(power=3.0, eps=1e-3)(t)
    torch.testing.assert_close(-torch.expm1(-level.sigma), (1 - 1e-3) * t**3, rtol=1e-12, atol=1e-15)
    assert level.rate.isfinite().all()


def test_power_1_is_log_linear() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    ours, theirs = plugin("noise_polynomial")(power=1.0)(t), plugin("noise_loglinear")()(t)
    torch.testing.assert_close(ours.sigma, theirs.sigma, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(ours.rate, theirs.rate, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("arguments", "message"), [({"power": 0.0}, "power must be"), ({"eps": 1.0}, "eps must lie")])
def test_invalid_settings_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plugin("noise_polynomial")(**arguments)
