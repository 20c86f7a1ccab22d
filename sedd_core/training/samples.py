"""Samples from the model during and after training."""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import deepcopy
from functools import reduce

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import console
from ..distributed.preemption import run_on_all_ranks
from ..model.memory import explained
from ..record.figures import Figure
from ..sampling.blocks import block_count
from ..sampling.report import before_end, report_samples
from ..sampling.sample import sample
from ..stages import Batch, FixedTokens, Sampler, SamplerStats
from .context import RunContext
from .evaluation import Evaluation, Subject
from .settings import Samples

REMEDY = "samples.count, or data.length"
"""Settings to lower if sampling runs out of memory."""


class SampleEvaluation(Evaluation):
    """Draws samples for the monitor and for files.

    Args:
        settings: Number of samples and of sampling steps.
        sampler: Sampler.
        length: Tokens per sample.
        end: Token id at which the text of a sample ends; None for no such token.
        subject: The model, and the validation sequences whose conditions and fixed tokens the samples take.
        context: Outputs and seed of the run.
    """

    def __init__(
        self,
        settings: Samples,
        sampler: Sampler,
        length: int,
        end: int | None,
        subject: Subject,
        context: RunContext,
    ) -> None:
        self.settings, self.sampler, self.length, self.end = settings, sampler, length, end
        self.subject, self.context = subject, context

    def evaluate(self, step: int) -> None:
        """Draw samples for the monitor and for files; see `Evaluation.evaluate`."""
        self._write(self.draw(), step)

    def conclude(self, step: int) -> list[Figure]:
        """Draw samples and also print them; see `Evaluation.conclude`."""
        texts = self.draw()
        if self.context.world.main:
            report_samples(texts, self.sampler)
        self._write(texts, step)
        return []

    def draw(self) -> list[str]:
        """Draw samples, shared over the processes. Returns all their texts in order, in every process."""
        world, count = self.context.world, self.settings.count
        self.sampler.stats = SamplerStats()

        @explained("sampling", REMEDY)
        def share() -> tuple[list[str], SamplerStats]:
            with console.progress_bar(
                (self.settings.steps + 2) * block_count(self.subject.model, self.length), "sampling"
            ) as advance:

                def on_step(x: Int64[Tensor, "B L"]) -> None:
                    self.context.stop.check()
                    advance()

                tokens = self._sample(self.sampler, self.settings.steps, on_step)
            texts = [self.subject.data.codec.decode(before_end(row, self.end)) for row in tokens.tolist()]
            return texts, self.sampler.stats

        texts, stats = zip(*run_on_all_ranks(world, share), strict=True)
        self.sampler.stats = reduce(operator.add, stats)
        return [texts[index % world.size][index // world.size] for index in range(count)]

    @explained("sampling", REMEDY)
    def rehearse(self) -> None:
        """Run one step and the final denoising, with a copy of the sampler: samplers accumulate statistics."""
        tokens = self._sample(deepcopy(self.sampler), 1, lambda x: None)
        for row in tokens.tolist():
            self.subject.data.codec.decode(row)

    def _sample(
        self, sampler: Sampler, steps: int, on_step: Callable[[Int64[Tensor, "B L"]], None]
    ) -> Int64[Tensor, "n L"]:
        """The samples of this process."""
        mine = self.context.world.share(self.settings.count)
        batch = self._validation_batch()
        return sample(
            self.subject.model,
            self.subject.noise,
            sampler,
            count=len(mine),
            which=mine,
            length=self.length,
            steps=steps,
            t_min=self.settings.t_min,
            seed=self.context.seed,
            batch_size=max(self.settings.count, 1),
            fixed_tokens=_fixed_tokens(batch),
            cond=None if batch is None else batch.cond,
            on_step=on_step,
        )

    def _validation_batch(self) -> Batch | None:
        """Validation sequences whose conditions and given tokens (such as padding) the samples take.

        One per sample, repeated if there are fewer; None for no samples.
        """
        own = next(iter(self.subject.data.valid_sets.values()))
        count = self.settings.count
        return own.batch(torch.arange(count) % len(own)) if count else None

    def _write(self, texts: list[str], step: int) -> None:
        """Write to the monitor, then to files: an evaluation whose files exist is not repeated on resuming."""
        monitor = self.context.monitor
        if monitor is not None:
            for index, text in enumerate(texts):
                monitor.text(f"samples/{index}", text, step)
            monitor.flush()
        self.context.on_main(lambda: self.context.workspace.write_samples(texts, step))


def _fixed_tokens(batch: Batch | None) -> FixedTokens | None:
    if batch is None or batch.loss_mask is None:
        return None
    return FixedTokens(batch.tokens, ~batch.loss_mask)
