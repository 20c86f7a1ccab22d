"""Quality of samples: perplexity under a causal language model, entropy, diversity, repetition, and MAUVE."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.record import Figure
from sedd_core.sampling import sample
from sedd_core.stages import EvalContext, EvalData, Evaluator, FixedTokens, Noise, Sampler, ScoreNetwork, Sequences

from .judge import Judge
from .report import figures_of, report
from .similarity import mauve
from .texts import Text, judged, together, tokens_of

Definition = Literal["sedd", "mdlm", "gidd"]


@lru_cache(maxsize=1)
def judge_of(name: str, device: torch.device) -> Judge:
    """The judge, which is loaded once in a process."""
    return Judge(name, device)


class Generative(Evaluator):
    """Perplexity of samples under a judge, beside what shows whether it can be believed.

    Args:
        judge: Causal language model of Hugging Face: a folder, a .gguf file or a hub id.
        sampler: Sampler of the samples.
        steps: Numbers of sampling steps, each with figures of its own.
        count: Number of samples, and of validation sequences that they are compared with.
        batch_size: Samples per network call.
        longest: Largest number of the judge's tokens of a text that are scored.
        definitions: Definitions of the perplexity: sedd, mdlm, gidd.
        mauve: Whether MAUVE is measured, with the judge's features (needs mauve-text).
        t_min: Diffusion time at which the last sampling step ends.
        file: File of samples (format=jsonl of a sampling run) in place of new ones; "": none.

    Source: definitions: see `measures`; MAUVE: Pillutla et al. 2021 (arXiv 2102.01454).
    """

    def __init__(
        self,
        *,
        judge: str,
        sampler: Sampler,
        steps: tuple[int, ...] = (128,),
        count: int = 64,
        batch_size: int = 16,
        longest: int = 1024,
        definitions: tuple[Definition, ...] = ("sedd", "mdlm", "gidd"),
        mauve: bool = False,
        t_min: float = 1e-5,
        file: str = "",
    ) -> None:
        for name, value, least in (("count", count, 2), ("batch_size", batch_size, 1), ("longest", longest, 2)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")
        if not steps or min(steps) < 1:
            raise ValueError(f"steps must be numbers of at least 1, such as (128,), not {steps}")
        self.judge, self.sampler, self.steps, self.count = judge, sampler, steps, count
        self.batch_size, self.longest, self.definitions, self.mauve = batch_size, longest, definitions, mauve
        self.t_min, self.file = t_min, file

    def evaluate(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> list[Figure]:
        """Draw the samples of each number of steps, score them, and compare them with validation text."""
        sequences = next(iter(data.valid_sets.values()))
        real = self._judged(
            lambda own: sequences.batch(own).tokens.tolist(), sequences.spread(self.count), data, context
        )
        if self.file:
            stored = context.gather(lambda: tokens_of(self.file, data.codec))[0]
            places = torch.arange(len(stored))
            made = self._judged(lambda own: [stored[i] for i in own.tolist()], places, data, context)
            return self._told("file", made, real, f"Read from {self.file}", context)
        figures: list[Figure] = []
        for steps in self.steps:
            sampler, started = deepcopy(self.sampler), time.monotonic()

            def draw(own: Int64[Tensor, " n"], steps: int = steps, sampler: Sampler = sampler) -> list[list[int]]:
                return self._sample(model, noise, sampler, steps, sequences, own, context)

            made = self._judged(draw, torch.arange(self.count), data, context)
            calls = max(context.gather(lambda sampler=sampler: sampler.stats.calls))
            seconds = time.monotonic() - started
            about = f"{calls} network calls, {seconds:.1f} s with scoring"
            figures += self._told(f"{steps}_steps", made, real, about, context)
        return figures

    @torch.no_grad()
    def rehearse(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> None:
        """Load the judge, draw a sample in one step, and score it."""
        sequences = next(iter(data.valid_sets.values()))
        tokens = self._sample(model, noise, deepcopy(self.sampler), 1, sequences, torch.arange(1), context)
        judged(tokens, [0], data.codec, judge_of(self.judge, context.device), self.longest, features=self.mauve)

    def _sample(
        self,
        model: ScoreNetwork,
        noise: Noise,
        sampler: Sampler,
        steps: int,
        sequences: Sequences,
        own: Int64[Tensor, " n"],
        context: EvalContext,
    ) -> list[list[int]]:
        """Tokens of the samples with these indices, which take conditions and given tokens of validation sequences."""
        chosen = sequences.spread(self.count)
        batch = sequences.batch(chosen[torch.arange(self.count) % len(chosen)])
        given = None if batch.loss_mask is None else FixedTokens(batch.tokens, ~batch.loss_mask)
        settings: dict[str, Any] = {"count": self.count, "length": batch.tokens.shape[1], "steps": steps, "which": own}
        settings |= {
            "documents": batch.documents,
            "t_min": self.t_min,
            "seed": context.seed,
            "batch_size": self.batch_size,
        }
        return sample(model, noise, sampler, **settings, fixed_tokens=given, cond=batch.cond).tolist()  # pyright: ignore[reportArgumentType]

    def _judged(
        self,
        tokens: Callable[[Int64[Tensor, " n"]], list[list[int]]],
        places: Int64[Tensor, " m"],
        data: EvalData,
        context: EvalContext,
    ) -> list[Text]:
        """Texts of all processes, each of which makes and scores its share."""

        def share() -> list[Text]:
            own = context.share(len(places))
            judge = judge_of(self.judge, context.device)
            rows = tokens(places[own])
            return judged(rows, own.tolist(), data.codec, judge, self.longest, features=self.mauve)

        return together(context.gather(share))

    def _told(self, name: str, made: list[Text], real: list[Text], about: str, context: EvalContext) -> list[Figure]:
        """The figures of samples, reported at the end of the run."""
        found, note = figures_of(made, self.definitions, context.seed), ""
        if self.mauve:
            figure, buckets = mauve([one.feature for one in made], [one.feature for one in real], context.seed)
            found.append((figure, (figure.value, figure.value)))
            note = f", mauve by {buckets} buckets and the judge's last hidden state"
        judge = f"judge {Path(self.judge).name} in fp32, at most {self.longest} of its tokens"
        protocol = f"samples of seed {context.seed}, {judge}{note}"
        if context.final:
            reference = figures_of(real, self.definitions, context.seed)
            context.report(report(name.replace("_", " "), found, reference, f"{about}; {protocol}."))
        return [replace(figure, name=f"{figure.name}_{name}", protocol=protocol) for figure, _ in found]


@hookimpl
def sedd_evaluator() -> type[Evaluator]:
    """The class of this plugin."""
    return Generative
