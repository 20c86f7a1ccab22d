"""Live view of a sample in the terminal."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float64, Int32, Int64
from rich.console import Console
from rich.live import Live
from rich.text import Text
from torch import Tensor

from ..stages.sampler import FixedTokens
from ..text.codec import Codec
from .style import MASK, NEVER, kinds, later_ages, token_texts

STYLES = {
    "given": "underline cyan",
    "mask": "dim",
    "prior": "dim",
    "age0": "bold black on yellow",
    "age1": "bold yellow",
    "age2": "yellow",
}


class LiveView:
    """Shows the first sample of each batch, redrawn in place; prints nothing if the output is not a terminal.

    A context manager; inside it, pass it to `sample` as `on_step`.

    Args:
        times: Diffusion times of the states of a batch [F], as for `Recorder`.
        codec: Tokenizer that decodes the states.
        mask: Mask state of the graph; None if it has none.
        given: Fixed tokens of all samples; None: no token is fixed.
        which: Indices of the samples drawn by this process [n]; None: all samples.
        console: Rich console to write to; None: standard output.
    """

    def __init__(
        self,
        times: Float64[Tensor, " F"],
        codec: Codec,
        mask: int | None,
        given: FixedTokens | None = None,
        which: Int64[Tensor, " n"] | None = None,
        console: Console | None = None,
    ) -> None:
        self._times, self._codec, self._mask, self._given = times.tolist(), codec, mask, given
        self._which = which
        console = console or Console(highlight=False)
        self._is_terminal = console.is_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._frame, self._done = 0, 0
        self._state: Int32[Tensor, " L"] = torch.empty(0, dtype=torch.int32)
        self._ages: Int32[Tensor, " L"] = torch.empty(0, dtype=torch.int32)

    def __enter__(self) -> LiveView:
        if self._is_terminal:
            self._live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._is_terminal:
            self._live.__exit__(*exception)

    def __call__(self, x: Int64[Tensor, "B L"]) -> None:
        """Show a state. Batches must follow one another, each with all its states.

        Args:
            x: State of a batch [B, L].
        """
        if not self._is_terminal:
            return
        state = x[0].to("cpu", torch.int32)
        first = self._frame == 0
        self._ages = torch.full_like(state, NEVER) if first else later_ages(self._ages, self._state, state)
        self._state = state
        self._live.update(self._picture(), refresh=True)
        self._frame += 1
        if self._frame == len(self._times):
            self._frame, self._done = 0, self._done + len(x)

    def _picture(self) -> Text:
        steps, time = len(self._times) - 1, self._times[self._frame]
        picture = Text(f"sample {self._sample()}   step {self._frame} of {steps}   t {time:.2f}\n")
        texts = token_texts(self._codec, self._state.tolist(), self._mask)
        fixed = self._fixed()
        for token, kind in zip(self._state.tolist(), kinds(self._state, self._ages, fixed, self._mask), strict=True):
            picture.append(MASK if kind == "mask" else texts[token], STYLES.get(kind))
        return picture

    def _sample(self) -> int:
        return self._done if self._which is None else int(self._which[self._done])

    def _fixed(self) -> Bool[Tensor, " L"]:
        if self._given is None:
            return torch.zeros_like(self._state, dtype=torch.bool)
        return self._given.positions[self._sample()].cpu()
