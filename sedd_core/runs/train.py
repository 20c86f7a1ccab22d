"""The training run: compose, train, evaluate, draw samples."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import checkpoints, console
from ..build.build import bind
from ..build.workspace import Workspace
from ..distributed.preemption import Stop
from ..errors import Stopped
from ..evaluation.report import text_sizes
from ..model import memory, slower_loss
from ..model.score import ScoreModel, move_process_to
from ..record import Figure, Node, Record, recordable
from ..stages import EvalData, Sequences
from ..text.codec import Codec
from ..training.batches import check_batch_divides
from ..training.context import RunContext
from ..training.deterministic import deterministic_kernels
from ..training.evaluation import Evaluations, Subject
from ..training.loop import Loop
from ..training.meter import Meter
from ..training.rehearsal import TRAINING, rehearse
from ..training.samples import SampleEvaluation
from ..training.trainer import Trainer
from ..training.validation import FigureEvaluation
from . import before, budget
from .checks import check_resumable
from .parts import TrainingParts
from .sets import evaluators_by_path, fail_safe_monitors, monitored, validation_sets

SAME_TOKENIZER = "set the same tokenizer for both (a tokenizer learned from a text is specific to it)"
"""Advice on validation data with another tokenizer than the training data."""


@recordable
@dataclass(frozen=True, kw_only=True)
class Train(TrainingParts):
    """Train a model, then report figures on validation data and some samples, from averaged weights."""

    def describe(self) -> str:
        """See `before.describe`."""
        return before.describe(self)

    def describe_memory(self) -> str:
        """See `before.describe_memory`."""
        return before.describe_memory(self)

    def warnings(self) -> list[str]:
        """See `before.warnings`."""
        return before.warnings(self)

    def check_contracts(self) -> None:
        """See `before.check_contracts`."""
        before.check_contracts(self)

    def check_processes(self, processes: int) -> None:
        """See `Run.check_processes`: every process takes an equal share of each batch."""
        check_batch_divides(self.training, processes)

    def starts_from(self) -> list[tuple[str, str | None]]:
        """`init_from`, if it is set."""
        return [] if self.init_from is None else [(self.init_from, self.init_format)]

    def execute(self, workspace: Workspace) -> list[Figure]:
        """See `Run.execute`: train and evaluate. Returns the figures of the evaluators."""
        with deterministic_kernels(self.training.deterministic):
            return self._execute(workspace)

    def _execute(self, workspace: Workspace) -> list[Figure]:
        started, world = time.monotonic(), workspace.world
        console.say(f"data     {self.data.describe()}")
        world.agree(self._check_caches)
        codec, train, sets = world.in_turn(self._opened)
        model = world.agree(lambda: self._prepared(workspace, codec, train))
        workspace.open()
        move_process_to(world.device, model.graph, self.noise)
        if not self.training.shards(world.size):  # otherwise the trainer moves each process's parts
            model.backbone.to(world.device)
        trainer = Trainer(model, self.noise, self.objective, train, self.optimizer, self.training, self.seed, world)
        valid = next(iter(sets.values()))
        console.say(f"         {len(train):,} training and {len(valid):,} validation sequences of {self.data.length}")
        console.say(f"model    {sum(p.numel() for p in trainer.parameters):,} parameters on {_where(workspace)}")
        if slower := slower_loss(trainer.model.backbone, trainer.model.head, trainer.model.graph):
            console.say(f"loss     {slower}")
        console.say(f"folder   {workspace.folder}")

        context = RunContext(workspace, fail_safe_monitors(self.monitor, self.monitors, world), Stop(), self.seed)
        data = EvalData(codec=codec, train=train, valid_sets=sets)
        evaluations = self._evaluations(Subject(model, self.noise, data, self.training.t_min), context)
        meter = Meter(trainer, self.data.length, _tokens_per_character(codec, train))
        loop = Loop(trainer, context, self.checkpoints, codec, meter, evaluations)
        first = loop.resume() if workspace.resume else 0
        _print_resume_step(context, first)
        with monitored(context, first), context.stop.listening():
            try:
                figures = self._train(loop, first)
            except Stopped as stopped:
                console.say(loop.resume_instructions())
                stopped.code = context.stop.code
                raise
            if context.monitor is not None:
                context.monitor.hyperparameters(_hyperparameters(workspace.record.run), context.last_metrics)
        console.say(f"\nDone in {time.monotonic() - started:.0f} s. The run is in {workspace.folder}")
        return figures

    def _train(self, loop: Loop, first: int) -> list[Figure]:
        """Train from step `first` to the last one, then evaluate."""
        trainer = loop.trainer
        trainer.model.train()
        if first < self.training.steps:
            rehearse(loop, loop.evaluations, first)
        with memory.explained("training", TRAINING):
            loop.run(first)
        trainer.model.eval()
        with trainer.averaged():
            return [figure for one in loop.evaluations for figure in one.conclude(self.training.steps)]

    def _evaluations(self, subject: Subject, context: RunContext) -> Evaluations:
        evaluators = evaluators_by_path(self.evaluator, self.evaluators)
        return (
            FigureEvaluation(evaluators, subject, context),
            SampleEvaluation(self.samples, self.sampler, self.data.length, self.data.end(), subject, context),
        )

    def _opened(self) -> tuple[Codec, Sequences, dict[str, Sequences]]:
        """The tokenizer, the training sequences and the validation sets; tokenizes what is not in the cache."""
        codec, train = self.data.codec(), self.data.split("train")
        return codec, train, validation_sets(codec, (self.data, *self.more_valid), "the training data", SAME_TOKENIZER)

    def _prepared(self, workspace: Workspace, codec: Codec, train: Sequences) -> ScoreModel:
        """Build the model with its initial weights; the sizes of data and model go to the workspace's record."""
        budget.check(self, codec.vocab_size)
        torch.manual_seed(self.seed)
        divided = self.training.shards(workspace.world.size) and not workspace.world.main
        model, arguments = self._compose(codec.vocab_size, torch.device("meta" if divided else "cpu"))
        for stage, values in arguments.items():
            workspace.record.node(stage).args.update(values)
        check_resumable(workspace, self.training, self.data.fingerprint())
        self._describe_data(workspace.record, train)
        if self.init_from is not None and not (workspace.resume and checkpoints.steps(workspace.folder)):
            checkpoints.load_weights_into(Path(self.init_from), model, self.noise, codec, self.init_format)
        return model

    def _describe_data(self, record: Record, train: Sequences) -> None:
        end = self.data.end()
        record.data, record.length = self.data.fingerprint(), self.data.length
        record.end, record.conditioned_on = -1 if end is None else end, train.conditioned_on

    def _check_caches(self) -> None:
        """Remove damaged token caches before any data is opened.

        The first process of each machine checks them while the others wait; all compute the fingerprints.
        """
        for data in (self.data, *self.more_valid):
            data.fingerprint()
            data.check_cache()

    def _compose(self, vocab_size: int, device: torch.device) -> tuple[ScoreModel, dict[str, dict[str, object]]]:
        """The model, with its network on `device`, and what was bound: on the meta device it takes no memory."""
        graph, of_graph = bind(self.graph, "graph", vocab_size=vocab_size)
        with device:
            model, of_model = bind(self.model, "model", num_states=graph.num_states)
        return ScoreModel(model, graph, self.head), {"graph": of_graph, "model": of_model}


def _tokens_per_character(codec: Codec, sequences: Sequences) -> float:
    """Mean tokens per character of 256 sequences across a split, without padding; 0 if there are no characters."""
    batch = sequences.batch(sequences.spread(256))
    in_all = int(text_sizes(codec, batch)[0].sum())
    return int(batch.full_text_mask().sum()) / in_all if in_all else 0.0


def _where(workspace: Workspace) -> str:
    device, size = workspace.world.device.type, workspace.world.size
    return device if size == 1 else f"{device}, {size} processes"


def _print_resume_step(context: RunContext, first: int) -> None:
    """Print the step from which the run resumes, or that it restarts because no checkpoint was saved."""
    workspace = context.workspace
    reached = context.log.reached() if workspace.resume else None
    if first:
        console.say(f"resumed  after step {first}")
    elif reached is not None:
        came = f"; its log reached step {reached}" if reached else ""
        console.say(f"No checkpoint in {workspace.folder}: starting from step 0{came}")


def _hyperparameters(run: Node) -> dict[str, bool | int | float | str]:
    """Scalar settings of a run by path, and the plugin name of each stage."""
    values = {path: value.name if isinstance(value, Node) else value for path, value in run.walk() if _is_shown(value)}
    return {path: value for path, value in values.items() if path and not path.endswith("]")}


def _is_shown(value: Any) -> bool:
    return value.kind != "core" if isinstance(value, Node) else isinstance(value, bool | int | float | str)
