"""The schedule of GIDD."""

import pytest
import torch

from sedd_core import plugin
from sedd_core.testing import check_noise


@pytest.mark.parametrize("p_uniform", [0.0, 0.1, 0.2])
def test_conformance(p_uniform: float) -> None:
    check_noise(plugin("noise_gidd")(p_uniform=p_uniform))


def test_the_published_probability_of_an_unchanged_token() -> None:
    t = torch.linspace(0.001, 0.999, 11, dtype=torch.float64)
    b = 2 * 0.1 / 0.9
    kept = (1 - t) / (1 + b * (t * (1 - t)).sqrt())
    torch.testing.assert_close(torch.exp(-plugin("noise_gidd")()(t).sigma), kept, rtol=1e-12, atol=0)


def test_times_are_held_within_the_published_range() -> None:
    level = plugin("noise_gidd")()(torch.tensor([0.0, 1.0]))
    assert level.t.tolist() == [1e-4, 1 - 1e-4]
    assert level.sigma.isfinite().all()
    assert level.rate.isfinite().all()


def test_an_invalid_share_is_refused() -> None:
    with pytest.raises(ValueError, match="p_uniform must lie in"):
        plugin("noise_gidd")(p_uniform=1.0)
