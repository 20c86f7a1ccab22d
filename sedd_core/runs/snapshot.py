"""Validation and samples from the averaged weights: in the middle of training, and at its end."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, reduce

import torch

from .. import bound, console
from ..bound import Bound
from ..codec import Codec
from ..memory import explained
from ..numerics import LN2
from ..preemption import Stop, together
from ..sampling import sample
from ..score import ScoreModel
from ..stages import Batch, Counts, Given, Monitor, Noise, Sampler, Sequences
from .base import Workspace
from .figures import Figure
from .log import clock
from .report import bound_figures, report_bound, report_references, report_samples, until
from .settings import Samples, Training, Validation

VALIDATION = "validation.batch_size, or data.length"
SAMPLING = "samples.count, or data.length"
"""What to lower where a snapshot runs out of memory."""


@dataclass
class Snapshots:
    """What is looked at, with what, and where it goes. All processes share the work; the main one writes.

    sets: validation sequences by name, the first the run's own. length: tokens a sample. end: the token at which the
    text of a sample ends, None for none. told: what the monitor was told last, by name.
    """

    model: ScoreModel
    noise: Noise
    codec: Codec
    sampler: Sampler
    sets: dict[str, Sequences]
    training: Training
    validation: Validation
    samples: Samples
    length: int
    seed: int
    workspace: Workspace
    monitor: Monitor | None
    stop: Stop
    end: int | None = None
    told: dict[str, float] = field(default_factory=dict)

    def __call__(self, step: int) -> None:
        """Bounds to the monitor, the log and the terminal, samples to files and the monitor."""
        for name, sequences in self.sets.items():
            console.say(self._tell(name, self.bound(name, sequences), step))
        self._keep(self.draw(), step)

    def last(self, step: int, train: Sequences) -> list[Figure]:
        """The same, told in full. Returns the bound of each validation set, the run's own first."""
        figures: list[Figure] = []
        tables: list[str] = []
        for name, sequences in self.sets.items():
            result = self.bound(name, sequences)
            self._tell(name, result, step)
            if self.workspace.world.main:
                times = torch.tensor(
                    [self.training.t_min, 1.0], dtype=torch.float64, device=self.workspace.world.device
                )
                ends = self.noise(times).sigma.tolist()
                tables.append(report_bound(name, result, ends, sequences.conditioned_on))
                figures += bound_figures(name, result, sequences.conditioned_on)
        self._by_main(lambda: self._report_rest("".join(tables), train))
        texts = self.draw()
        if self.workspace.world.main:
            report_samples(texts, self.sampler)
        self._keep(texts, step)
        return figures

    def _report_rest(self, tables: str, train: Sequences) -> None:
        self.workspace.write_side_file("validation.txt", tables)
        if self.validation.references:
            report_references(self.codec, train, next(iter(self.sets.values())), self.validation.sequences)

    def _by_main(self, work: Callable[[], None]) -> None:
        """Let the main process work; where it fails, all fail, and none waits for it."""
        world = self.workspace.world
        world.agree(lambda: work() if world.main else None)

    def bound(self, name: str, sequences: Sequences) -> Bound:
        """The bound of sequences from all over a set: always the same ones, at the same noise levels."""
        settings, world = self.validation, self.workspace.world
        which = sequences.spread(settings.sequences)
        mine = which[world.share(len(which))]

        @explained("validation", VALIDATION)
        def share() -> Bound | None:
            if not len(mine):
                return None
            return bound.estimate(
                self.model,
                self.noise,
                (self._batch(sequences, indices) for indices in console.track(mine.split(settings.batch_size), name)),
                partial(characters, self.codec),
                seed=self.seed,
                points=settings.points,
                t_min=self.training.t_min,
            )

        return bound.merge([part for part in together(world, share) if part is not None])

    def draw(self) -> list[str]:
        """Samples as text, in order, on every process."""
        world, settings = self.workspace.world, self.samples
        self.sampler.counts = Counts()
        mine = world.share(settings.count)

        @explained("sampling", SAMPLING)
        def share() -> tuple[list[str], Counts]:
            with console.counted(settings.steps + 2, "sampling") as advance:

                def on_step(x: torch.Tensor) -> None:
                    self.stop.check()
                    advance()

                tokens = sample(
                    self.model,
                    self.noise,
                    self.sampler,
                    count=len(mine),
                    which=mine,
                    length=self.length,
                    steps=settings.steps,
                    t_min=settings.t_min,
                    seed=self.seed,
                    batch_size=max(settings.count, 1),
                    given=self.given(settings.count),
                    cond=self.conditions(settings.count),
                    on_step=on_step,
                )
            return [self.codec.decode(until(row, self.end)) for row in tokens.tolist()], self.sampler.counts

        texts, counts = zip(*together(world, share), strict=True)
        self.sampler.counts = reduce(operator.add, counts)
        return [texts[index % world.size][index // world.size] for index in range(settings.count)]

    def conditions(self, count: int) -> torch.Tensor | None:
        """Conditions of the own validation sequences in order, repeated where there are fewer; None if none."""
        return self._as_validated(count).cond if count else None

    def given(self, count: int) -> Given | None:
        """The tokens of the same sequences that do not count, such as their padding; None where all count."""
        batch = self._as_validated(count) if count else None
        return None if batch is None or batch.counts is None else Given(batch.tokens, ~batch.counts)

    def _as_validated(self, count: int) -> Batch:
        own = next(iter(self.sets.values()))
        return own.batch(torch.arange(count) % len(own))

    def _batch(self, sequences: Sequences, indices: torch.Tensor) -> tuple[torch.Tensor, Batch]:
        self.stop.check()
        device = self.workspace.world.device
        return indices.to(device), sequences.batch(indices).to(device)

    def _tell(self, name: str, result: Bound, step: int) -> str:
        """The bound of a set, with its standard error, to log and monitor. Returns the line of it in the log."""
        told = ", ".join(f"{figure} {figure.unit}" for figure in bound_figures(name, result))
        line = f"step {step:>7}  {name}: {told} (± standard error, n = {len(result.nats)}){clock()}"
        nats, error = result.per(result.tokens)
        figures = {
            "nats_per_token": nats,
            "nats_per_token_error": error,
            "perplexity": float(torch.tensor(nats).exp()),
            "bits_per_token": nats / LN2,
        }
        if result.characters.any():
            figures |= zip(("bits_per_character", "bits_per_character_error"), result.bits_per_character, strict=True)
        named = {f"valid_{name}/{unit}": value for unit, value in figures.items()}
        self._by_main(lambda: self.workspace.log.measure(line, named, step))
        if self.monitor is not None and self.workspace.world.main:
            self.monitor.scalars(named, step)
            self.told |= named
        return line

    def _keep(self, texts: list[str], step: int) -> None:
        """To the monitor, then to files: a snapshot whose files are there is not made again."""
        monitor = self.monitor
        if monitor and self.workspace.world.main:
            for index, text in enumerate(texts):
                monitor.text(f"samples/{index}", text, step)
            monitor.flush()
        self._by_main(lambda: self.workspace.write_samples(texts, step))


def characters(codec: Codec, batch: Batch) -> torch.Tensor:
    """Characters of each sequence [B], without padding."""
    rows = zip(batch.tokens.cpu(), batch.in_text().cpu(), strict=True)
    return torch.tensor([codec.characters(row[kept].tolist()) for row, kept in rows])
