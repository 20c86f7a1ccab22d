"""The states that a sampling run went through, as data."""

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
    """States of B samples at F frames, from the prior to clean tokens.

    times: of the frames, 1 at the prior and 0 at the result. steps: how many steps were made before each frame (the
    final denoising is one). given: where tokens were known beforehand. mask: the mask's state, None without one.
    """

    states: Int32[Tensor, "F B L"]
    times: Float64[Tensor, " F"]
    steps: Int64[Tensor, " F"]
    given: Bool[Tensor, "B L"]
    codec: Codec
    mask: int | None

    def thinned(self, most: int) -> Trajectory:
        """At most `most` (2 or more) frames at equal distances; the first and the last are always among them.

        Only the last distance may be shorter.
        """
        last = len(self.times) - 1
        stride = max(1, -(-last // (most - 1)))
        kept = torch.tensor([*range(0, last, stride), last])
        return replace(self, states=self.states[kept], times=self.times[kept], steps=self.steps[kept])

    def save(self, path: Path) -> None:
        """Write everything, the tokenizer too, to a safetensors file. UserError when it cannot be written."""
        tensors = {"states": self.states, "times": self.times, "steps": self.steps, "given": self.given}
        metadata = {"mask": json.dumps(self.mask), "tokenizer": self.codec.tokenizer.to_str()}
        try:
            with writing(path) as temporary:
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        except (OSError, SafetensorError) as error:
            raise UserError(f"The trajectory {path} could not be written: {error}.") from error

    @classmethod
    def load(cls, path: Path) -> Trajectory:
        """Read what `save` wrote. UserError when the file is missing or holds no trajectory."""
        check_readable(path)
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("states", "times", "steps", "given")}
            codec, mask = Codec(parse_tokenizer(metadata["tokenizer"], str(path))), json.loads(metadata["mask"])
        except UserError:
            raise
        except Exception as error:  # of damaged files: SafetensorError, and whatever torch makes of their sizes
            raise UserError(f"{path} is no recorded trajectory: {error}.") from error
        return cls(**tensors, codec=codec, mask=mask)


class Recorder:
    """Keeps every state of a sampling run: give it to `sample` as `on_step`.

    times [F]: of the states of a batch, the first and the result included: the time grid, then 0.
    """

    def __init__(self, times: Float64[Tensor, " F"]) -> None:
        self._times = times.cpu()
        self._states: list[Int32[Tensor, "B L"]] = []

    def __call__(self, x: Int64[Tensor, "B L"]) -> None:
        """Keep a state; batches come one after the other, each with all its states."""
        self._states.append(x.to("cpu", torch.int32))

    def states(self) -> Int32[Tensor, "F B L"]:
        """What was recorded, all batches side by side; none of them, no numbers."""
        frames = len(self._times)
        if len(self._states) % frames:
            raise ValueError(f"{len(self._states)} states were recorded, which is no multiple of {frames} times")
        batches = [torch.stack(self._states[i : i + frames]) for i in range(0, len(self._states), frames)]
        return torch.cat(batches, dim=1) if batches else torch.empty(frames, 0, 0, dtype=torch.int32)

    def trajectory(self, codec: Codec, mask: int | None, given: FixedTokens | None = None) -> Trajectory:
        """The same with what it takes to show it. given: of all samples, as for `sample`."""
        states = self.states()
        where = given.positions.cpu() if given else torch.zeros(states.shape[1:], dtype=torch.bool)
        return Trajectory(states, self._times, torch.arange(len(self._times)), where, codec, mask)
