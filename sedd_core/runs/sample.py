"""The sampling run: from a checkpoint, and tokens that may be given, to text."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from .. import checkpoint, console, prompts
from ..checkpoint import Loaded
from ..codec import Codec
from ..errors import UserError
from ..sampling import GivenNoise, Grid, clamping_floor, sample, time_grid
from ..stages import Given, Sampler
from ..watch import LiveView, Recorder, Trajectory, html, svg
from .base import Run, Workspace
from .report import report_samples
from .settings import check_seed

Format = Literal["text", "jsonl", "ids"]


class Sample(Run):
    """Draw sequences from a checkpoint. The i-th sample is a function of (seed, i), whatever the batch size.

    checkpoint: a run folder, a checkpoint folder, or a folder in the published layout. steps: of the sampler. grid:
    where in time they lie (see `sampling.time_grid`). count: samples, of each prompt if there are any. batch_size:
    sequences a network call. length: tokens a sample (as trained, when None). prefix, suffix: texts that stand at the
    two ends. prompt: a text with blanks, "my name is[[*]], and" or [[16]] for so many tokens. prompts: a file of
    them, one a line. given_noise: the noise that the network is told of at given tokens: the "same" as elsewhere, or
    "none". format: "text" (a file each), "jsonl" or "ids" (a table of token ids, .npy). trajectory: record every
    state, show the sample as it comes about, and write it as a page and a picture. t_min: where the sampler's last
    step ends, before denoising. seed: of everything random. ema: the averaged weights. ngpus: processes that share
    the samples; as for training.
    """

    def __init__(
        self,
        *,
        checkpoint: str,
        sampler: Sampler,
        steps: int = 128,
        grid: Grid = "uniform",
        count: int = 4,
        batch_size: int = 4,
        length: int | None = None,
        prefix: str = "",
        suffix: str = "",
        prompt: str = "",
        prompts: str = "",
        given_noise: GivenNoise = "same",
        format: Format = "text",
        trajectory: bool = False,
        t_min: float = 1e-5,
        seed: int = 0,
        ema: bool = True,
        ngpus: int | None = None,
    ) -> None:
        counts = {"steps": steps, "count": count, "batch_size": batch_size, "length": length, "ngpus": ngpus}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 < t_min < 1:
            raise ValueError(f"t_min must lie between 0 and 1, not {t_min}")
        if sum(bool(way) for way in (prefix or suffix, prompt, prompts)) > 1:
            raise ValueError(
                "tokens are given by a prefix and a suffix, or by a prompt, or by a file of prompts: by one"
            )
        check_seed(seed)
        self.grid: Grid = grid
        self.given_noise: GivenNoise = given_noise
        self.checkpoint, self.sampler, self.steps, self.count = checkpoint, sampler, steps, count
        self.batch_size, self.length, self.t_min, self.seed, self.ema = batch_size, length, t_min, seed, ema
        self.prefix, self.suffix, self.prompt, self.prompts = prefix, suffix, prompt, prompts
        self.format, self.trajectory, self.ngpus = format, trajectory, ngpus

    def describe(self) -> str:
        """What would be sampled, from which weights."""
        return (
            f"checkpoint {self.checkpoint}\n"
            f"samples    {self.count} in batches of {self.batch_size}, {self.steps} steps of "
            f"{type(self.sampler).__name__}, seed {self.seed}"
        )

    def execute(self, workspace: Workspace) -> dict[str, str]:
        """Sample, print, and write into the workspace's folder."""
        world = workspace.world
        loaded = checkpoint.load(self.checkpoint, ema=self.ema, device=str(world.device))
        if loaded.codec is None:
            raise UserError(f"{self.checkpoint} holds no tokenizer.json, so its samples cannot be read as text.")
        length = self.length or loaded.record.node("data")["args"]["length"]
        given = self._given(loaded.codec, length)
        floor = clamping_floor(loaded.graph) if given and self.given_noise == "same" else None
        if floor:
            console.say(f"warning: given tokens: {floor}. given_noise=none tells the network that they are clean.")
        workspace.open()
        started = time.monotonic()
        total = len(given.tokens) if given else self.count
        shares = world.gather(self._draw(loaded, loaded.codec, world.share(total), given, length, workspace))
        tokens = torch.stack([shares[index % world.size][index // world.size] for index in range(total)])
        seconds = time.monotonic() - started
        counts = self.sampler.counts
        if world.main:
            texts = [loaded.codec.decode(row) for row in tokens.tolist()]
            report_samples(texts, self.sampler)
            self._write(workspace, tokens, texts)
            console.say(f"{tokens.numel() / seconds:.0f} tokens/s. Written to {workspace.folder}")
        return {
            "network calls": str(counts.calls),
            "clipped a position": f"{counts.clipped_per_row:.2g}",
            "tokens/s": f"{tokens.numel() / seconds:.0f}",
        }

    def _given(self, codec: Codec, length: int) -> Given | None:
        """What is given of all samples, `count` of each prompt after the other."""
        if self.prompts:
            asked = prompts.read(Path(self.prompts))
        elif self.prompt:
            asked = [prompts.parse(self.prompt)]
        elif self.prefix or self.suffix:
            asked = [prompts.ends(self.prefix, self.suffix)]
        else:
            return None
        return prompts.given_for_samples(asked, codec, length, self.count)

    def _draw(
        self,
        loaded: Loaded,
        codec: Codec,
        indices: Int64[Tensor, " n"],
        given: Given | None,
        length: int,
        workspace: Workspace,
    ) -> Int64[Tensor, "n L"]:
        """This process's share; the main one's is shown and recorded."""
        mine = Given(given.tokens[indices], given.where[indices]) if given else None
        drawn = partial(
            sample,
            loaded.model,
            loaded.noise,
            self.sampler,
            count=len(indices),
            which=indices,
            length=length,
            steps=self.steps,
            t_min=self.t_min,
            seed=self.seed,
            batch_size=self.batch_size,
            grid=self.grid,
            given=given,
            given_noise=self.given_noise,
        )
        if not (self.trajectory and workspace.world.main):
            batches = -(-len(indices) // self.batch_size)
            with console.counted((self.steps + 2) * batches, "sampling") as advance:
                return drawn(on_step=lambda x: advance())
        times = time_grid(self.steps, self.t_min, self.grid, loaded.noise)
        times = torch.cat([times, torch.zeros(1, dtype=torch.float64)])  # the result's
        recorder = Recorder(times)
        with LiveView(times, codec, loaded.graph.mask, mine) as live:

            def watch(x: Int64[Tensor, "B L"]) -> None:
                recorder(x)
                live(x)

            tokens = drawn(on_step=watch)
        trajectory = recorder.trajectory(codec, loaded.graph.mask, mine)
        _write_trajectory(trajectory, workspace.folder, self.checkpoint)
        return tokens

    def _write(self, workspace: Workspace, tokens: Int64[Tensor, "n L"], texts: list[str]) -> None:
        if self.format == "text":
            workspace.write_samples(texts)
        elif self.format == "ids":
            np.save(workspace.folder / "samples.npy", tokens.numpy())
        else:
            rows = zip(texts, tokens.tolist(), strict=True)
            lines = [json.dumps({"text": text, "tokens": row}, ensure_ascii=False) + "\n" for text, row in rows]
            (workspace.folder / "samples.jsonl").write_text("".join(lines), encoding="utf-8")


def _write_trajectory(trajectory: Trajectory, folder: Path, title: str) -> None:
    trajectory.save(folder / "trajectory.safetensors")
    (folder / "trajectory.html").write_text(html(trajectory, title), encoding="utf-8")
    (folder / "trajectory.svg").write_text(svg(trajectory), encoding="utf-8")
