"""The likelihood bound of validation data; see `sedd_core.evaluation.bound`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.evaluation import (
    Bound,
    bound_figures,
    characters,
    estimate,
    merge,
    report_bound,
    report_references,
    terms,
)
from sedd_core.maths import Draws
from sedd_core.record import Figure
from sedd_core.stages import Batch, EvalContext, EvalData, Evaluator, Noise, ScoreNetwork, Sequences


class LikelihoodBound(Evaluator):
    """The likelihood bound of each validation set: always the same sequences and noise levels.

    Args:
        sequences: Number of validation sequences, spread evenly over the split; the same in every evaluation.
        points: Number of noise levels drawn per sequence.
        batch_size: Sequences per network call.
        references: Whether the bits per character of character n-grams are printed for comparison.

    Source: Lou et al., Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution (arXiv
        2310.16834), theorem 3.6.
    """

    def __init__(
        self, *, sequences: int = 256, points: int = 16, batch_size: int = 32, references: bool = False
    ) -> None:
        if sequences < 2:
            raise ValueError(f"sequences must be at least 2 (for a standard error), not {sequences}")
        for name, value in (("points", points), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.sequences, self.points, self.batch_size, self.references = sequences, points, batch_size, references

    def evaluate(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> list[Figure]:
        """Estimate the bounds; at the end of the run, also report their terms, and the references."""
        ends = noise(torch.tensor([context.t_min, 1.0], dtype=torch.float64, device=context.device)).sigma.tolist()
        protocol = f"{self.points} noise levels per sequence, sigma from {ends[0]:.3g} to {ends[1]:.3g}"
        figures: list[Figure] = []
        for name, sequences in data.valid_sets.items():
            result = self._bound(name, sequences, model, noise, data, context)
            found = bound_figures(name, result, sequences.conditioned_on)
            figures += [replace(figure, protocol=protocol) for figure in found]
            if context.final:
                context.report(report_bound(name, result, ends, sequences.conditioned_on))
        if context.final and self.references:
            context.gather(lambda: self._report_references(data) if len(context.share(1)) else None)
        return figures

    @torch.no_grad()
    def rehearse(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> None:
        """Compute every term of the bound for one batch of each set at one noise level, and the largest pass."""
        for sequences in data.valid_sets.values():
            mine = self._share(sequences, context)[: self.batch_size]
            if not len(mine):
                continue
            batch, draws = sequences.batch(mine).to(context.device), Draws(context.seed, mine.to(context.device))
            terms(model, noise, batch, draws, points=1, t_min=context.t_min)
            characters(data.codec, batch)
            x = model.graph.prior(draws, batch.tokens.shape[1])
            level = noise(torch.ones(len(x), dtype=torch.float64, device=context.device))
            model.score_entropy(x, batch.tokens, level, model.graph.reachable(x, level), batch.cond, batch.documents)

    def _share(self, sequences: Sequences, context: EvalContext) -> Int64[Tensor, " n"]:
        """Indices of the sequences that this process measures."""
        which = sequences.spread(self.sequences)
        return which[context.share(len(which))]

    def _bound(
        self,
        name: str,
        sequences: Sequences,
        model: ScoreNetwork,
        noise: Noise,
        data: EvalData,
        context: EvalContext,
    ) -> Bound:
        mine = self._share(sequences, context)

        def batches() -> Iterator[tuple[Int64[Tensor, " B"], Batch]]:
            for indices in context.track(mine.split(self.batch_size), name):
                yield indices.to(context.device), sequences.batch(indices).to(context.device)

        def own() -> Bound | None:
            if not len(mine):
                return None
            settings = {"seed": context.seed, "points": self.points, "t_min": context.t_min}
            return estimate(model, noise, batches(), partial(characters, data.codec), **settings)

        return merge([part for part in context.gather(own) if part is not None])

    def _report_references(self, data: EvalData) -> None:
        if data.train is not None:
            report_references(data.codec, data.train, next(iter(data.valid_sets.values())), self.sequences)


@hookimpl
def sedd_evaluator() -> type[Evaluator]:
    """The class of this plugin."""
    return LikelihoodBound
