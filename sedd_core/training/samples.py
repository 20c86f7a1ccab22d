"""Samples from the model that is being trained."""

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
from ..sampling.report import before_end, report_samples
from ..sampling.sample import sample
from ..stages import Batch, FixedTokens, Sampler, SamplerStats
from .context import RunContext
from .evaluation import Evaluator, Subject
from .settings import Samples

REMEDY = "samples.count, or data.length"
"""What to lower where sampling runs out of memory."""


class SampleEvaluator(Evaluator):
    """Samples, to the monitor and to files.

    Args:
        settings: How many samples, in how many steps.
        sampler: The sampler.
        length: Tokens per sample.
        end: The token at which the text of a sample ends; None for none.
        subject: The model, and the validation sequences whose conditions and fixed tokens the samples have.
        context: The run's outputs and seed.
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
        """Samples to the monitor and to files."""
        self._keep(self.draw(), step)

    def conclude(self, step: int) -> list[Figure]:
        """The same, printed too."""
        texts = self.draw()
        if self.context.world.main:
            report_samples(texts, self.sampler)
        self._keep(texts, step)
        return []

    def draw(self) -> list[str]:
        """Samples as text, in order, in every process."""
        world, count = self.context.world, self.settings.count
        self.sampler.stats = SamplerStats()

        @explained("sampling", REMEDY)
        def share() -> tuple[list[str], SamplerStats]:
            with console.progress_bar(self.settings.steps + 2, "sampling") as advance:

                def on_step(x: Int64[Tensor, "B L"]) -> None:
                    self.context.stop.check()
                    advance()

                tokens = self._sample(self.sampler, self.settings.steps, on_step)
            texts = [self.subject.codec.decode(before_end(row, self.end)) for row in tokens.tolist()]
            return texts, self.sampler.stats

        texts, stats = zip(*run_on_all_ranks(world, share), strict=True)
        self.sampler.stats = reduce(operator.add, stats)
        return [texts[index % world.size][index // world.size] for index in range(count)]

    @explained("sampling", REMEDY)
    def rehearse(self) -> None:
        """One step and the final denoising of all samples, by a copy of the sampler, which keeps statistics."""
        tokens = self._sample(deepcopy(self.sampler), 1, lambda x: None)
        for row in tokens.tolist():
            self.subject.codec.decode(row)

    def _sample(
        self, sampler: Sampler, steps: int, on_step: Callable[[Int64[Tensor, "B L"]], None]
    ) -> Int64[Tensor, "n L"]:
        """The samples of this process."""
        mine = self.context.world.share(self.settings.count)
        batch = self._as_validated()
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
            fixed_tokens=_fixed(batch),
            cond=None if batch is None else batch.cond,
            on_step=on_step,
        )

    def _as_validated(self) -> Batch | None:
        """As many validation sequences of the run's own data, repeated where there are fewer; None for no samples.

        Samples have their conditions, and their tokens that are not in the loss, such as padding.
        """
        own = next(iter(self.subject.valid_sets.values()))
        count = self.settings.count
        return own.batch(torch.arange(count) % len(own)) if count else None

    def _keep(self, texts: list[str], step: int) -> None:
        """To the monitor, then to files: an evaluation whose files are there is not repeated."""
        monitor = self.context.monitor
        if monitor is not None:
            for index, text in enumerate(texts):
                monitor.text(f"samples/{index}", text, step)
            monitor.flush()
        self.context.on_main(lambda: self.context.workspace.write_samples(texts, step))


def _fixed(batch: Batch | None) -> FixedTokens | None:
    if batch is None or batch.loss_mask is None:
        return None
    return FixedTokens(batch.tokens, ~batch.loss_mask)
