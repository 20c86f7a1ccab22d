"""Rounding to bfloat16 that is right on average, for values that many small changes add up to."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import BFloat16, Float32
from torch import Tensor

from .draws import key

LOW = 1 << 16
"""Number of float32 values from one bfloat16 value to the next."""


class Storage(NamedTuple):
    """Where and how values are kept between the updates that compute with them in float32."""

    dtype: Literal["fp32", "bf16"] = "fp32"
    """Dtype of the values; bf16 is rounded at random, without bias."""
    device: Literal["same", "cpu"] = "same"
    """Device of the values: that of the parameters, or the CPU."""

    @property
    def plain(self) -> bool:
        """Whether they are kept as the parameters are."""
        return self == Storage()

    def put(self, values: Tensor, *address: int | str) -> Tensor:
        """The values [...] as they are kept.

        Args:
            values: Values in float32.
            address: Address of the random numbers: the same values and address give the same result.
        """
        kept = round_at_random(values, *address) if self.dtype == "bf16" else values
        return kept.to(self.place(values))

    def place(self, values: Tensor) -> torch.device:
        """The device on which values are kept that are computed where these are."""
        return torch.device("cpu") if self.device == "cpu" else values.device


def round_at_random(values: Float32[Tensor, "*shape"], *address: int | str) -> BFloat16[Tensor, "*shape"]:
    """Round to one of the two nearest bfloat16 values, to either with the probability that makes the mean exact.

    A change below half of the distance to the next value, such as (1 - decay) times a small difference, is lost by
    rounding to the nearest, every time.

    Args:
        values: Finite values.
        address: Address of the random numbers, see `Draws`; the same on every device of a kind.
    """
    generator = torch.Generator(values.device).manual_seed(key(*address))
    low = torch.randint(LOW, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    return ((values.contiguous().view(torch.int32) + low) & -LOW).view(torch.float32).to(torch.bfloat16)
