"""The likelihood bound on validation data."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import console
from ..distributed.preemption import run_on_all_ranks
from ..evaluation import bound
from ..evaluation.bound import Bound
from ..evaluation.integrand import model_entropy
from ..evaluation.report import bound_figures, characters, report_bound, report_references
from ..maths.draws import Draws
from ..maths.numerics import LN2
from ..model.memory import explained
from ..record.figures import Figure
from ..stages import Batch, Sequences
from .context import RunContext
from .evaluation import Evaluator, Subject
from .log import clock
from .settings import Validation

REMEDY = "validation.batch_size, or data.length"
"""Settings to lower if validation runs out of memory."""


class BoundEvaluator(Evaluator):
    """Estimates the likelihood bound of each validation set; see `evaluation.bound`.

    Args:
        settings: Number of sequences and of noise levels.
        subject: The model and the validation sets.
        context: Outputs and seed of the run.
    """

    def __init__(self, settings: Validation, subject: Subject, context: RunContext) -> None:
        self.settings, self.subject, self.context = settings, subject, context

    def evaluate(self, step: int) -> None:
        """Write the bounds to the log, the monitor and the terminal; see `Evaluator.evaluate`."""
        for name, sequences in self.subject.valid_sets.items():
            console.say(self._log(name, self.bound(name, sequences), step))

    def conclude(self, step: int) -> list[Figure]:
        """Also write a table of the terms of each bound to validation.txt, and print the references."""
        figures: list[Figure] = []
        tables: list[str] = []
        times = torch.tensor([self.subject.t_min, 1.0], dtype=torch.float64, device=self.context.world.device)
        ends = self.subject.noise(times).sigma
        for name, sequences in self.subject.valid_sets.items():
            result = self.bound(name, sequences)
            self._log(name, result, step)
            if self.context.world.main:
                tables.append(report_bound(name, result, ends.tolist(), sequences.conditioned_on))
                figures += bound_figures(name, result, sequences.conditioned_on)
        self.context.on_main(lambda: self._report_rest("".join(tables)))
        return figures

    def bound(self, name: str, sequences: Sequences) -> Bound:
        """Estimate the bound on sequences spread over a set: always the same sequences and noise levels.

        Args:
            name: Name of the validation set, for the progress bar.
            sequences: The validation set.
        """
        world, subject = self.context.world, self.subject
        which = sequences.spread(self.settings.sequences)
        mine = which[world.share(len(which))]

        @explained("validation", REMEDY)
        def share() -> Bound | None:
            if not len(mine):
                return None
            batches = console.track(mine.split(self.settings.batch_size), name)
            return bound.estimate(
                subject.model,
                subject.noise,
                (self._batch(sequences, indices) for indices in batches),
                partial(characters, subject.codec),
                seed=self.context.seed,
                points=self.settings.points,
                t_min=subject.t_min,
            )

        return bound.merge([part for part in run_on_all_ranks(world, share) if part is not None])

    @explained("validation", REMEDY)
    @torch.no_grad()
    def rehearse(self) -> None:
        """Compute every term of the bound for one batch of each set at one noise level, and the largest pass."""
        model, noise, world = self.subject.model, self.subject.noise, self.context.world
        for sequences in self.subject.valid_sets.values():
            which = sequences.spread(self.settings.sequences)
            mine = which[world.share(len(which))][: self.settings.batch_size]
            if not len(mine):
                continue
            batch, draws = sequences.batch(mine).to(world.device), Draws(self.context.seed, mine.to(world.device))
            bound.terms(model, noise, batch, draws, points=1, t_min=self.subject.t_min)
            characters(self.subject.codec, batch)
            x = model.graph.prior(draws, batch.tokens.shape[1])
            level = noise(torch.ones(len(x), dtype=torch.float64, device=world.device))
            model_entropy(model, x, batch.tokens, level, model.graph.reachable(x, level), batch.cond)

    def _batch(self, sequences: Sequences, indices: Int64[Tensor, " B"]) -> tuple[Int64[Tensor, " B"], Batch]:
        self.context.stop.check()
        device = self.context.world.device
        return indices.to(device), sequences.batch(indices).to(device)

    def _log(self, name: str, result: Bound, step: int) -> str:
        """Write a bound and its standard error to the log and the monitor. Returns the line of the log."""
        figures = ", ".join(f"{figure} {figure.unit}" for figure in bound_figures(name, result))
        line = f"step {step:>7}  {name}: {figures} (± standard error, n = {len(result.nats)}){clock()}"
        nats, error = result.per(result.tokens)
        values = {
            "nats_per_token": nats,
            "nats_per_token_error": error,
            "perplexity": float(torch.tensor(nats).exp()),
            "bits_per_token": nats / LN2,
        }
        if result.characters.any():
            values |= zip(("bits_per_character", "bits_per_character_error"), result.bits_per_character, strict=True)
        metrics = {f"valid_{name}/{unit}": value for unit, value in values.items()}
        self.context.log_metrics(line, metrics, step)
        self.context.last_metrics |= metrics
        return line

    def _report_rest(self, tables: str) -> None:
        self.context.workspace.write_side_file("validation.txt", tables)
        if self.settings.references:
            valid = next(iter(self.subject.valid_sets.values()))
            report_references(self.subject.codec, self.subject.train, valid, self.settings.sequences)
