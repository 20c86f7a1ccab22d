"""A checkpoint from Python: samples and trajectories in one call each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ..build.build import build_part
from ..checkpoints import Loaded, load_checkpoint, trained_length
from ..errors import UserError
from ..registry.plugins import plugin
from ..sampling.blocks import block_count
from ..sampling.grid import time_grid
from ..sampling.prompts import parse_prompt, tokenize_prompts
from ..sampling.report import before_end
from ..sampling.sample import sample
from ..stages import FixedTokens, Sampler
from ..text.codec import Codec
from ..trajectory import Recorder, Trajectory
from .checks import sampler_suits

T_MIN = 1e-5
"""Diffusion time at which the last sampling step ends, as in sampling runs."""


def load(path: str | Path, **settings: Any) -> LoadedModel:
    """Load a checkpoint: `sedd_core.load("runs/quickstart/TIME").sample("Return the[[*]]", steps=128)`.

    Args:
        path: Run folder, checkpoint folder, or folder, file or hub id in an installed format.
        settings: ema, device, tokenizer and format, as for `checkpoints.load_checkpoint`.

    Raises:
        UserError: The checkpoint cannot be loaded.
    """
    return LoadedModel(load_checkpoint(path, **settings), str(path))


class LoadedModel:
    """A model with its tokenizer.

    Args:
        parts: Model, graph, noise, tokenizer and record of the checkpoint.
        path: Path of the checkpoint, for messages.
    """

    def __init__(self, parts: Loaded, path: str) -> None:
        self.parts, self.path = parts, path

    def sample(
        self, prompt: str = "", *, steps: int = 128, count: int = 1, length: int | None = None, seed: int = 0,
        sampler: str | Sampler | None = None,
    ) -> list[str]:  # fmt: skip
        """Draw texts; the i-th is a function of (seed, i).

        Args:
            prompt: Text with blanks, such as "Return the[[*]]"; "" for free samples.
            steps: Number of sampling steps.
            count: Number of samples.
            length: Tokens per sample; None: as in training.
            seed: Random seed.
            sampler: Sampler, or its name, such as "sampler_euler"; None: that of the training run.

        Raises:
            UserError: The prompt does not fit, or the checkpoint has no tokenizer, length or sampler.
        """
        codec = self._codec()
        tokens, _, _ = self._draw(prompt, steps, count, length, seed, sampler, lambda x: None)
        return [codec.decode(before_end(row, self.parts.record.end)) for row in tokens.tolist()]

    def trajectory(
        self, prompt: str = "", *, steps: int = 128, count: int = 1, length: int | None = None, seed: int = 0,
        sampler: str | Sampler | None = None,
    ) -> Trajectory:  # fmt: skip
        """Draw the same samples as `sample` of these arguments, with every state on the way."""
        size = self._length(length)
        noise, device = self.parts.noise, next(self.parts.model.parameters()).device
        times = time_grid(steps, T_MIN, "uniform", noise, device).cpu()
        recorder = Recorder(torch.cat([times, times.new_zeros(1)]).repeat(block_count(self.parts.model, size)))
        _, fixed, _ = self._draw(prompt, steps, count, size, seed, sampler, recorder)
        return recorder.trajectory(self._codec(), self.parts.graph.mask, fixed)

    def _draw(
        self, prompt: str, steps: int, count: int, length: int | None, seed: int, sampler: str | Sampler | None,
        on_step: Callable[[Tensor], None],
    ) -> tuple[Int64[Tensor, "n L"], FixedTokens | None, Sampler]:  # fmt: skip
        parts, size, chosen = self.parts, self._length(length), self._sampler(sampler)
        tuple(sampler_suits(chosen, parts.graph))
        fixed = tokenize_prompts([parse_prompt(prompt)], self._codec(), size, count) if prompt else None
        tokens = sample(
            parts.model, parts.noise, chosen, count=count, length=size, steps=steps, t_min=T_MIN, seed=seed,
            batch_size=count, fixed_tokens=fixed, on_step=on_step,
        )  # fmt: skip
        return tokens, fixed, chosen

    def _codec(self) -> Codec:
        if self.parts.codec is None:
            raise UserError(f"{self.path} has no tokenizer: load(..., tokenizer=...), such as gpt2.")
        return self.parts.codec

    def _length(self, length: int | None) -> int:
        if self.parts.record.conditioned_on == "lengths":
            raise UserError(
                f"{self.path} was trained with documents of given lengths: sample it with launch.py, lengths=..."
            )
        found = length or trained_length(self.parts.record)
        if found is None:
            raise UserError(f"{self.path} does not record the length of its training sequences: set length=...")
        return found

    def _sampler(self, sampler: str | Sampler | None) -> Sampler:
        if isinstance(sampler, Sampler):
            return sampler
        if sampler is not None:
            return plugin(sampler)()
        if "sampler" not in self.parts.record.run.args:
            raise UserError(f"{self.path} records no sampler: set sampler=..., such as sampler_euler.")
        return build_part(self.parts.record, "sampler")
