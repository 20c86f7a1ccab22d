"""The likelihood bound of validation data; see `sedd_core.evaluation.bound`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.console import say
from sedd_core.evaluation import (
    DEFAULT_UNITS,
    UNITS,
    Bound,
    Estimation,
    Method,
    Piece,
    bound_figures,
    check_name,
    estimate,
    merge,
    read_protocol,
    report_bound,
    report_protocol,
    report_references,
    terms,
    text_sizes,
)
from sedd_core.maths import Draws
from sedd_core.record import Figure
from sedd_core.stages import EvalContext, EvalData, Evaluator, Noise, ScoreNetwork, Sequences


class LikelihoodBound(Evaluator):
    """The likelihood bound of each validation set: always the same sequences and noise levels.

    Args:
        sequences: Number of validation sequences, spread evenly over the split; the same in every evaluation. 0: all.
        points: Number of noise levels drawn per sequence.
        repeats: Number of independent repetitions of all points; their spread is the standard error over draws.
        estimator: Estimator of the integral: exact_k, lambda, log_sigma, quadrature, independent, stratified or
            low_discrepancy; auto: exact_k where all noise is masking, else log_sigma.
        batch: Sequences per batch, cut by index, of an estimator or a pooling stated over batches; 0: one batch.
        pooling: Ratio that is reported: tokens (of sums over all sequences) or batches (mean of the batches' ratios).
        left_out: Terms that are not part of the sum, of diffusion, reconstruction and prior.
        t_min: Smallest diffusion time; None: that of the run.
        t_max: Largest diffusion time.
        scored: Positions in the sum: loss (all that are noised) or text (padding is noised but not in the sum).
        given_noise: Noise level that the network receives at given tokens: same (as elsewhere) or none.
        units: Units of the figures: nats/token, bits/character, bits/byte, bits/token, nats/sequence, perplexity.
        batch_size: Sequences per network call; changes no figure.
        references: Whether the bits per character of character n-grams are printed for comparison.
        protocol: Protocol that these settings are from: a name, or a .toml file; its published figures are printed.

    Source: Lou et al., Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution (arXiv
        2310.16834), theorem 3.6.
    """

    def __init__(
        self,
        *,
        sequences: int = 256,
        points: int = 16,
        repeats: int = 1,
        estimator: str = "auto",
        batch: int = 0,
        pooling: Literal["tokens", "batches"] = "tokens",
        left_out: tuple[str, ...] = (),
        t_min: float | None = None,
        t_max: float = 1.0,
        scored: Literal["loss", "text"] = "loss",
        given_noise: Literal["same", "none"] = "same",
        units: tuple[str, ...] = DEFAULT_UNITS,
        batch_size: int = 32,
        references: bool = False,
        protocol: str = "",
    ) -> None:
        given = dict(locals())
        if sequences < 2 and sequences != 0:
            raise ValueError(f"sequences must be 0 (all) or at least 2 (for a standard error), not {sequences}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        for unit in units:
            check_name("units", unit, UNITS)
        self.method = Method(
            estimator=estimator, t_max=t_max, left_out=left_out, given_noise=given_noise, scored=scored
        )
        self.settings = Estimation(
            seed=0,
            points=points,
            t_min=1e-3 * t_max if t_min is None else t_min,
            repeats=repeats,
            batch=batch,
            pooling=pooling,
            method=self.method,
        )
        self.sequences, self.t_min, self.units = sequences, t_min, units
        self.batch_size, self.references = batch_size, references
        self.protocol = read_protocol(protocol) if protocol else None
        stated = {} if self.protocol is None else self.protocol.evaluator
        stated = {key: tuple(value) if isinstance(value, list) else value for key, value in stated.items()}
        self.changed = [f"{key}={given[key]}" for key, value in stated.items() if given.get(key, value) != value]

    def evaluate(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> list[Figure]:
        """Estimate the bounds; at the end of the run, also report their terms, and the references."""
        times = torch.tensor([self._t_min(context), self.method.t_max], dtype=torch.float64, device=context.device)
        ends = noise(times).sigma.tolist()
        description = self.settings.describe(model.graph)
        changed = f" (changed: {', '.join(self.changed)})" if self.changed else ""
        named = f"{self.protocol.title}{changed}: " if self.protocol else ""
        protocol = f"{named}{description}, sigma from {ends[0]:.3g} to {ends[1]:.3g}"
        figures: list[Figure] = []
        for name, sequences in data.valid_sets.items():
            result, given = self._bound(name, sequences, model, noise, data, context), sequences.conditioned_on
            found = bound_figures(name, result, given, self.units, protocol)
            figures += found
            if context.final:
                context.report(report_bound(name, result, ends, given, self.method.left_out, description))
                context.save(f"nats_{name.replace('/', '_')}.json", json.dumps(result.by_sequence()))
                if self.protocol:
                    context.report(report_protocol(self.protocol, name, sequences, found))
                if self.method.estimator == "quadrature":
                    self._report_nodes(self._bound(name, sequences, model, noise, data, context, 2), result, context)
        if context.final and self.references:
            context.gather(lambda: self._report_references(data) if len(context.share(1)) else None)
        return figures

    @torch.no_grad()
    def rehearse(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> None:
        """Compute every term of the bound for one batch of each set at one noise level, and the largest pass."""
        for sequences in data.valid_sets.values():
            mine = self._which(sequences)[context.share(len(self._which(sequences)))][: self.batch_size]
            if not len(mine):
                continue
            batch, draws = sequences.batch(mine).to(context.device), Draws(context.seed, mine.to(context.device))
            terms(model, noise, batch, draws, points=1, t_min=self._t_min(context), method=self.method)
            text_sizes(data.codec, batch)
            x = model.graph.prior(draws, batch.tokens.shape[1])
            level = noise(torch.ones(len(x), dtype=torch.float64, device=context.device))
            model.score_entropy(x, batch.tokens, level, model.graph.reachable(x, level), batch.cond, batch.documents)

    def _t_min(self, context: EvalContext) -> float:
        return context.t_min if self.t_min is None else self.t_min

    def _which(self, sequences: Sequences) -> Int64[Tensor, " n"]:
        """Indices of the sequences that all processes together measure."""
        return sequences.spread(self.sequences or len(sequences))

    def _bound(
        self,
        name: str,
        sequences: Sequences,
        model: ScoreNetwork,
        noise: Noise,
        data: EvalData,
        context: EvalContext,
        factor: int = 1,
    ) -> Bound:
        which = self._which(sequences)
        order = context.share(len(which))
        settings = replace(
            self.settings,
            seed=context.seed,
            t_min=self._t_min(context),
            total=len(which),
            points=factor * self.settings.points,
        )

        def pieces() -> Iterator[Piece]:
            for part in context.track(order.split(self.batch_size), name):
                batch = sequences.batch(which[part]).to(context.device)
                yield Piece(which[part].to(context.device), part.to(context.device), batch)

        def own() -> Bound | None:
            if not len(order):
                return None
            return estimate(model, noise, pieces(), partial(text_sizes, data.codec), settings)

        return merge([part for part in context.gather(own) if part is not None])

    def _report_nodes(self, doubled: Bound, bound: Bound, context: EvalContext) -> None:
        """Report what twice the nodes change, paired by sequences."""
        value, error = bound.per(bound.tokens, doubled.nats - bound.nats)
        text = f"quadrature error: {2 * self.settings.points} nodes change it by {value:.5f} ± {error:.5f} nats/token"
        say(text)
        context.report(f"{text}\n")

    def _report_references(self, data: EvalData) -> None:
        if data.train is not None:
            sequences = next(iter(data.valid_sets.values()))
            report_references(data.codec, data.train, sequences, self.sequences or len(sequences))


@hookimpl
def sedd_evaluator() -> type[Evaluator]:
    """The class of this plugin."""
    return LikelihoodBound
