"""The training run: compose, train, measure the bound, draw samples."""

from __future__ import annotations

import time
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn

from .. import bound, checkpoint, console
from ..codec import Codec
from ..record import complete
from ..score import ScoreHead, ScoreModel
from ..stages import Backbone, Data, Graph, Noise, Sampler, Sequences
from ..training import Trainer
from .base import Run, Workspace
from .checks import CHECKS
from .report import report_bound, report_references, report_samples
from .sample import draw_texts
from .settings import Optimizer, Samples, Training, Validation, check_seed


class Train(Run):
    """Train a model, then report its likelihood bound on validation data and some samples, from averaged weights.

    graph and model wait for the vocabulary and the number of states, which are known when the data is.
    seed: of everything random.
    """

    def __init__(
        self,
        *,
        data: Data,
        noise: Noise,
        graph: partial[Graph],
        model: partial[Backbone],
        score: ScoreHead,
        sampler: Sampler,
        optimizer: Optimizer,
        training: Training,
        validation: Validation,
        samples: Samples,
        seed: int = 0,
    ) -> None:
        check_seed(seed)
        self.data, self.noise, self.graph, self.model, self.score = data, noise, graph, model, score
        self.sampler, self.optimizer, self.training = sampler, optimizer, training
        self.validation, self.samples, self.seed = validation, samples, seed

    def describe(self) -> str:
        """The data, the states and the network's shapes."""
        vocab_size = self.data.vocab_size() or self.graph.keywords.get("vocab_size")
        lines = [f"data     {self.data.describe()}"]
        if vocab_size is None:
            return "\n".join([*lines, "model    its size follows from the vocabulary, known once the data is read"])
        with torch.device("meta"):
            model, _ = self._compose(vocab_size)
        count = sum(parameter.numel() for parameter in model.parameters())
        sequences = f"{self.training.batch_size} sequences of {self.data.length} tokens"
        mask = "" if model.graph.mask is None else " and a mask"
        shapes = [f"  {name:<44}{list(p.shape)}" for name, p in model.backbone.named_parameters()]
        return "\n".join(
            [
                *lines,
                f"states   {model.graph.num_states}: {vocab_size} tokens{mask}",
                f"steps    {self.training.steps:,} of {sequences}",
                f"model    {count:,} parameters",
                *shapes,
            ]
        )

    def warnings(self) -> list[str]:
        """What the checks of `runs.checks` say; those of the graph once its vocabulary is known."""
        parts: dict[str, Any] = {name: getattr(self, name) for name in ("noise", "sampler", "optimizer", "training")}
        vocab_size = self.data.vocab_size() or self.graph.keywords.get("vocab_size")
        if vocab_size is not None:
            parts["graph"] = complete(self.graph, "graph", vocab_size=vocab_size)[0]
        said = []
        for check in CHECKS:
            wanted = signature(check).parameters
            if set(wanted) <= set(parts):
                said += check(**{name: parts[name] for name in wanted})
        return said

    def execute(self, workspace: Workspace) -> dict[str, str]:
        """Train and report, in the workspace's folder. The figures are those of the bound."""
        started = time.monotonic()
        console.say(f"data     {self.data.describe()}")
        codec, train, valid = self.data.codec(), self.data.split("train"), self.data.split("valid")
        torch.manual_seed(self.seed)
        model, arguments = self._compose(codec.vocab_size)
        for stage, values in arguments.items():
            workspace.record.node(stage)["args"].update(values)
        workspace.record.data = self.data.fingerprint()
        workspace.open()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model, noise = model.to(device), self.noise.to(device)
        count = sum(p.numel() for p in nn.ModuleList([model, noise]).parameters())
        console.say(f"         {len(train):,} training and {len(valid):,} validation sequences of {self.data.length}")
        console.say(f"model    {count:,} parameters on {device}")
        console.say(f"folder   {workspace.folder}")

        trainer = Trainer(model, noise, train, self.optimizer, self.training, self.seed)
        self._train(trainer, workspace, codec)
        with trainer.ema.in_place():
            model.eval()
            figures = self._validate(model, noise, codec, train, valid, workspace)
            self._sample(model, noise, codec, workspace)
        console.say(f"\nDone in {time.monotonic() - started:.0f} s. The run is in {workspace.folder}")
        return figures

    def _compose(self, vocab_size: int) -> tuple[ScoreModel, dict[str, dict[str, object]]]:
        graph, of_graph = complete(self.graph, "graph", vocab_size=vocab_size)
        model, of_model = complete(self.model, "model", num_states=graph.num_states)
        return ScoreModel(model, graph, self.score), {"graph": of_graph, "model": of_model}

    def _train(self, trainer: Trainer, workspace: Workspace, codec: Codec) -> None:
        training, length = self.training, self.data.length
        first = trainer.data.batch(torch.arange(min(64, len(trainer.data)))).tokens
        per_character = first.numel() / sum(codec.characters(row) for row in first.tolist())
        trainer.objective.train()
        with console.TrainingProgress(training.steps, workspace.folder / "log.txt") as progress:
            for step in range(training.steps):
                result = trainer.step(step)
                progress.step(step + 1, result.loss / length, per_character, result.grad_norm)
                if (step + 1) % training.log_every == 0:
                    progress.log(training.batch_size * length * training.log_every)
                last = step + 1 == training.steps
                if last or (training.checkpoint_every and (step + 1) % training.checkpoint_every == 0):
                    self._save(trainer, workspace, codec, step + 1)

    def _save(self, trainer: Trainer, workspace: Workspace, codec: Codec, step: int) -> None:
        folder = workspace.folder / "checkpoints" / f"step_{step:09d}"
        checkpoint.save(folder, trainer.objective.model, trainer.noise, trainer.ema, codec, workspace.record)

    def _validate(
        self, model: ScoreModel, noise: Noise, codec: Codec, train: Sequences, valid: Sequences, workspace: Workspace
    ) -> dict[str, str]:
        settings = self.validation
        count = min(settings.sequences, len(valid))
        device = next(model.parameters()).device
        batches = console.track(torch.arange(count).split(settings.batch_size), "validation")
        result = bound.estimate(
            model,
            noise,
            ((indices.to(device), valid.batch(indices).to(device)) for indices in batches),
            lambda tokens: torch.tensor([codec.characters(row) for row in tokens.tolist()]),
            seed=self.seed,
            points=settings.points,
            t_min=self.training.t_min,
        )
        ends = noise(torch.tensor([self.training.t_min, 1.0], dtype=torch.float64)).sigma.tolist()
        figures = report_bound(result, ends, workspace.folder)
        if settings.references:
            report_references(codec, train, valid, count)
        return figures

    def _sample(self, model: ScoreModel, noise: Noise, codec: Codec, workspace: Workspace) -> None:
        settings = self.samples
        texts = draw_texts(
            model,
            noise,
            self.sampler,
            codec,
            count=settings.count,
            length=self.data.length,
            steps=settings.steps,
            t_min=settings.t_min,
            seed=self.seed,
            batch_size=max(settings.count, 1),
        )
        report_samples(texts, self.sampler)
        workspace.write_samples(texts)
