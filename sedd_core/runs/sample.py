"""Sampling run: from a checkpoint, and possibly prompts, to texts."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .. import console
from ..build.workspace import Workspace
from ..checkpoints import Loaded, load_checkpoint
from ..distributed.world import World
from ..model.memory import explained
from ..record.figures import Figure, short
from ..record.recordable import recordable
from ..sampling.blocks import block_count
from ..sampling.grid import time_grid
from ..sampling.prompts import Prompt
from ..sampling.report import before_end, report_samples
from ..sampling.sample import sample
from ..stages import FixedTokens
from ..text.hub import without_folders
from ..trajectory import LiveView, Recorder, Trajectory
from .checks import sampler_suits
from .fixed_tokens import fixed_tokens, prompts_of, sample_length
from .output import write_samples, write_trajectory
from .sample_settings import SampleSettings


@recordable
@dataclass(frozen=True, kw_only=True)
class Sample(SampleSettings):
    """Draw samples from a checkpoint. The i-th sample is a function of (seed, i), whatever the batch size."""

    def execute(self, workspace: Workspace) -> list[Figure]:
        """Draw the samples, print them, and write them into the folder of the workspace.

        Args:
            workspace: Folder, processes and record of the run.

        Returns:
            Number of network calls, clipped probability per position, and tokens per second.
        """
        world = workspace.world
        loaded, length, templates, fixed = world.agree(lambda: self._prepared(world))
        workspace.open()
        started = time.monotonic()
        tokens, trajectory = self._draw(loaded, world, fixed, length)
        speed = tokens.numel() / (time.monotonic() - started)
        world.agree(lambda: self._report(workspace, loaded, templates, tokens, trajectory) if world.main else None)
        console.say(f"{short(speed)} tokens/s. Written to {workspace.folder}")
        stats = self.sampler.stats
        return [
            Figure("cost", float(stats.calls), "network calls"),
            Figure("clipped", stats.clipped_per_position, "probability/position"),
            Figure("speed", speed, "tokens/s"),
        ]

    def _prepared(self, world: World) -> tuple[Loaded, int, list[Prompt], FixedTokens | None]:
        """Load the model; determine the tokens per sample, the prompts, and the fixed tokens."""
        loaded = load_checkpoint(
            self.checkpoint,
            ema=self.ema,
            device=str(world.device),
            tokenizer=self.tokenizer or None,
            format=self.checkpoint_format,
        )
        self.prepare(loaded.model)
        tuple(sampler_suits(self.sampler, loaded.graph))
        length, templates = sample_length(self, loaded), prompts_of(self)
        return loaded, length, templates, fixed_tokens(self, loaded, templates, length)

    def _report(
        self,
        workspace: Workspace,
        loaded: Loaded,
        templates: list[Prompt],
        tokens: Int64[Tensor, "n L"],
        trajectory: Trajectory | None,
    ) -> None:
        """Print and write the samples."""
        end = loaded.record.end
        texts = [loaded.codec.decode(before_end(row, end)) for row in tokens.tolist()] if loaded.codec else []
        report_samples(texts, self.sampler)
        prompts = [prompt.text for prompt in templates for _ in range(self.count)] or [None] * len(tokens)
        write_samples(workspace, self.format, tokens, texts, prompts, self.seed)
        if trajectory:
            write_trajectory(workspace.folder, trajectory, without_folders(self.checkpoint))

    def _draw(
        self, loaded: Loaded, world: World, fixed: FixedTokens | None, length: int
    ) -> tuple[Int64[Tensor, "n L"], Trajectory | None]:
        """Draw all samples, each process its share. Returns the tokens, and the trajectory if it is recorded."""
        total = len(fixed.tokens) if fixed else self.count
        indices = world.share(total)
        times = time_grid(self.steps, self.t_min, self.grid, loaded.noise, world.device).cpu()
        times = torch.cat([times, times.new_zeros(1)])  # time of the result
        times = times.repeat(block_count(loaded.model, length))
        recorder = Recorder(times)
        with self._shown(loaded, world, times, indices, fixed) as show, explained("sampling", "batch_size or length"):

            def on_step(x: Int64[Tensor, "B L"]) -> None:
                show(x)
                if self.trajectory:
                    recorder(x)

            own_tokens = sample(
                loaded.model,
                loaded.noise,
                self.sampler,
                count=total,
                which=indices,
                length=length,
                steps=self.steps,
                t_min=self.t_min,
                seed=self.seed,
                batch_size=self.batch_size,
                grid=self.grid,
                fixed_tokens=fixed,
                fixed_token_noise=self.fixed_token_noise,
                cond=None if self.cond is None else torch.tensor([self.cond] * total),
                cache=self.cache,
                on_step=on_step,
            )
        shares = world.gather((indices, own_tokens, recorder.states(), self.sampler.stats))
        all_indices, tokens, states, stats = zip(*shares, strict=True)
        order = torch.cat(all_indices).argsort()
        self.sampler.stats = reduce(operator.add, stats)
        if not self.trajectory or loaded.codec is None:
            return torch.cat(tokens)[order], None
        whole = Recorder(times)
        for state in torch.cat([part for part in states if part.numel()], 1)[:, order]:
            whole(state.long())
        return torch.cat(tokens)[order], whole.trajectory(loaded.codec, loaded.graph.mask, fixed)

    @contextmanager
    def _shown(
        self,
        loaded: Loaded,
        world: World,
        times: Float64[Tensor, " F"],
        indices: Int64[Tensor, " n"],
        fixed: FixedTokens | None,
    ) -> Iterator[Callable[[Int64[Tensor, "B L"]], None]]:
        """Yield a function that shows each state: a live view in the main process, or a progress bar."""
        if self.trajectory and world.main and loaded.codec:
            with LiveView(times, loaded.codec, loaded.graph.mask, fixed, indices) as live:
                yield live
        else:
            batches = -(-len(indices) // self.batch_size)
            with console.progress_bar(len(times) * batches, "sampling") as advance:
                yield lambda x: advance()
