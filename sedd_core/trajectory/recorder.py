"""Recorded states of a sampling run, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float64, Int32, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..files import check_readable, writing
from ..stages.sampler import FixedTokens
from ..text.codec import Codec
from ..text.tokenizer_json import parse_tokenizer


@dataclass(frozen=True)
class Trajectory:
    """States of B samples at F frames, from the prior to clean tokens."""

    states: Int32[Tensor, "F B L"]
    """Token or mask at each frame, sample and position."""
    times: Float64[Tensor, " F"]
    """Diffusion time of each frame: 1 at the prior, 0 at the result."""
    steps: Int64[Tensor, " F"]
    """Number of sampling steps before each frame; the final denoising counts as one."""
    given: Bool[Tensor, "B L"]
    """Whether the token at a position is fixed by the prompt."""
    codec: Codec
    """Tokenizer that decodes the states."""
    mask: int | None
    """Mask state of the graph; None if it has none."""

    def thinned(self, most: int) -> Trajectory:
        """A trajectory with fewer frames, the first and the last included.

        Args:
            most: Maximum number of frames, at least 2. They are equally spaced; only the last distance may be
                shorter.
        """
        last = len(self.times) - 1
        stride = max(1, -(-last // (most - 1)))
        kept = torch.tensor([*range(0, last, stride), last])
        return replace(self, states=self.states[kept], times=self.times[kept], steps=self.steps[kept])

    def save(self, path: Path) -> None:
        """Write the trajectory with its tokenizer to a safetensors file.

        Args:
            path: Path of the file.

        Raises:
            UserError: The file cannot be written.
        """
        tensors = {"states": self.states, "times": self.times, "steps": self.steps, "given": self.given}
        metadata = {"mask": json.dumps(self.mask), "tokenizer": self.codec.tokenizer.to_str()}
        try:
            with writing(path) as temporary:
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        except (OSError, SafetensorError) as error:
            raise UserError(f"The trajectory {path} could not be written: {error}.") from error

    @classmethod
    def load(cls, path: Path) -> Trajectory:
        """Read a file written by `save`.

        Args:
            path: Path of the file.

        Raises:
            UserError: The file is missing or is not a recorded trajectory.
        """
        check_readable(path)
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("states", "times", "steps", "given")}
            codec, mask = Codec(parse_tokenizer(metadata["tokenizer"], str(path))), json.loads(metadata["mask"])
        except UserError:
            raise
        except Exception as error:  # damaged files: SafetensorError, and any error of torch about their sizes
            raise UserError(f"{path} is not a recorded trajectory: {error}.") from error
        return cls(**tensors, codec=codec, mask=mask)


class Recorder:
    """Records every state of a sampling run; pass it to `sample` as `on_step`.

    Args:
        times: Diffusion times of the states of a batch [F]: the time grid, followed by 0 for the result.
    """

    def __init__(self, times: Float64[Tensor, " F"]) -> None:
        self._times = times.cpu()
        self._states: list[Int32[Tensor, "B L"]] = []

    def __call__(self, x: Int64[Tensor, "B L"]) -> None:
        """Record a state. Batches must follow one another, each with all its states.

        Args:
            x: State of a batch [B, L].
        """
        self._states.append(x.to("cpu", torch.int32))

    def states(self) -> Int32[Tensor, "F B L"]:
        """The recorded states of all batches side by side; empty if there are none.

        Raises:
            ValueError: The last batch is incomplete.
        """
        frames = len(self._times)
        if len(self._states) % frames:
            raise ValueError(f"{len(self._states)} states were recorded, which is not a multiple of {frames} times")
        batches = [torch.stack(self._states[i : i + frames]) for i in range(0, len(self._states), frames)]
        return torch.cat(batches, dim=1) if batches else torch.empty(frames, 0, 0, dtype=torch.int32)

    def trajectory(self, codec: Codec, mask: int | None, given: FixedTokens | None = None) -> Trajectory:
        """The recorded states as a trajectory.

        Args:
            codec: Tokenizer that decodes the states.
            mask: Mask state of the graph; None if it has none.
            given: Fixed tokens of all samples, as for `sample`.

        Raises:
            ValueError: The last batch is incomplete.
        """
        states = self.states()
        fixed = given.positions.cpu() if given else torch.zeros(states.shape[1:], dtype=torch.bool)
        return Trajectory(states, self._times, torch.arange(len(self._times)), fixed, codec, mask)
