"""Counter-based randomness: every uniform number is a function of (seed, stream, step, sequence, position).

There is no generator state, so draws do not depend on world size, accumulation, batch size or resuming. Bits come
from the finalizer of SplitMix64 (Steele, Lea, Flood 2014), applied twice.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .numerics import float64_device

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


def _signed(word: int) -> int:
    word &= _WORD
    return word - (1 << 64) if word >> 63 else word


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's own extends the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    z = (z ^ _shift_right(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift_right(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift_right(z, 31)


def key(*parts: int | str) -> int:
    """Signed 64-bit hash of an address; ("a", 1) and ("a1",) differ."""
    return _signed(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little"))


@dataclass(frozen=True)
class Draws:
    """Uniform numbers for a batch of sequences at one step. The same address always gives the same numbers."""

    seed: int
    """Random seed of the run."""
    indices: Int64[Tensor, " B"]
    """Index [B] of each sequence in the global batch, or among all samples."""
    step: int = 0
    """Training or sampling step."""
    parts: tuple[str, ...] = ()
    """Names of the parts of the step, outermost first; see `part`."""
    batch_size: int | None = None
    """Number of sequences in the global batch, over which `strata` are stratified; None: they are independent."""

    def at(self, step: int) -> Draws:
        """The draws of the same sequences at another step."""
        return replace(self, step=step)

    def part(self, name: str) -> Draws:
        """Independent draws for one named part of a step, such as the corrector of a predictor-corrector sampler."""
        return replace(self, parts=(*self.parts, name))

    def strata(self, stream: str) -> Float64[Tensor, " B"]:
        """One uniform number [B] per sequence, in (0, 1): each in its own of `batch_size` equal parts, by its index.

        Args:
            stream: Name of the purpose of the numbers; streams are independent.
        """
        uniform = self.uniform(stream, 1)[:, 0]
        return uniform if self.batch_size is None else (self.indices + uniform) / self.batch_size

    def uniform(self, stream: str, *shape: int) -> Float64[Tensor, " B *shape"]:
        """Uniform numbers [B, *shape] in the open interval (0, 1), of 52 bits.

        They are on the device of the indices, or on the CPU if that device has no float64.

        Args:
            stream: Name of the purpose of the numbers; streams are independent.
            shape: Shape of the numbers of each sequence.
        """
        indices = self.indices.to(float64_device(self.indices.device))
        positions = torch.arange(math.prod(shape), device=indices.device) * _signed(_GOLDEN)
        sequences = _mix(indices * _signed(_GOLDEN) + key(self.seed, stream, self.step, *self.parts))
        words = _mix(_mix(sequences[:, None] + positions))
        uniform = (_shift_right(words, 12).double() + 0.5) * 2.0**-52
        return uniform.reshape(len(self.indices), *shape)


def permutation(size: int, seed: int, stream: str) -> Int64[Tensor, " size"]:
    """A random permutation of 0 .. size - 1, a function of (seed, stream)."""
    return torch.argsort(Draws(seed, torch.arange(size)).uniform(stream))
