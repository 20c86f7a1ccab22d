"""The training run: compose, train, measure the bound, draw samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint, console, loading, memory
from ..codec import Codec
from ..errors import Stopped, UserError
from ..place import place
from ..preemption import Stop
from ..record import Node, Record, complete, recordable
from ..score import ScoreHead, ScoreModel, place_on
from ..stages import Backbone, Data, Graph, Monitor, Noise, Sampler, Sequences
from ..training import Trainer
from . import budget, contracts
from .base import Run, Workspace
from .checks import CHECKS, WITHOUT_VALUES, check_resumable
from .figures import Figure
from .loop import Loop
from .meter import Meter
from .monitoring import FailSafeMonitor
from .rehearsal import TRAINING, rehearse
from .settings import Checkpoints, Optimizer, Samples, Training, Validation, check_seed
from .snapshot import Snapshots, characters

STAND_IN = 64
"""A vocabulary for looking at parts before the data has told its own."""
LATER = "model    its size and memory follow from the vocabulary, known once the data is read"


@recordable
class Train(Run):
    """Train a model, then report its likelihood bound on validation data and some samples, from averaged weights.

    graph and model wait for the vocabulary and the number of states, which are known when the data is.
    more_valid: other data whose validation split is measured too. monitor: where figures go, or None.
    ngpus: processes, one a GPU; all of this machine's GPUs when None; on a CPU, that many processes, or one.
    init_from: a run or a checkpoint whose averaged weights training starts from. seed: of everything random.
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
        checkpoints: Checkpoints,
        validation: Validation,
        samples: Samples,
        more_valid: tuple[Data, ...] = (),
        monitor: Monitor | None = None,
        ngpus: int | None = None,
        init_from: str | None = None,
        seed: int = 0,
    ) -> None:
        check_seed(seed)
        if ngpus is not None and ngpus < 1:
            raise ValueError(f"ngpus must be at least 1, not {ngpus}")
        self.data, self.noise, self.graph, self.model, self.score = data, noise, graph, model, score
        self.sampler, self.optimizer, self.training, self.checkpoints = sampler, optimizer, training, checkpoints
        self.validation, self.samples, self.more_valid = validation, samples, more_valid
        self.monitor = None if monitor is None else FailSafeMonitor(monitor)
        self.ngpus, self.init_from, self.seed = ngpus, init_from, seed

    def describe(self) -> str:
        """The data, the states and the network's shapes."""
        vocab_size, known = self._vocab_size()
        lines = [f"data     {self.data.describe()}"]
        if not known and "num_states" in self.model.keywords:  # nothing can stand in for that vocabulary
            return "\n".join([*lines, LATER])
        graph = contracts.look_at(self.graph, vocab_size)
        with torch.device("meta"):
            backbone, _ = complete(self.model, "model", num_states=graph.num_states)
        model = ScoreModel(backbone, graph, self.score)
        if not known:
            return "\n".join([*lines, LATER])
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
        """What the checks of `runs.checks` say."""
        own = ("noise", "score", "sampler", "optimizer", "training")
        parts: dict[str, Any] = {name: getattr(self, name) for name in own}
        parts["processes"] = max(place()[1], self.processes())
        vocab_size, known = self._vocab_size()
        parts["graph"] = contracts.look_at(self.graph, vocab_size)
        said = []
        for check in CHECKS if not contracts.is_on_meta(parts["graph"]) else WITHOUT_VALUES:
            said += check(**{name: parts[name] for name in signature(check).parameters})
        if known:
            budget.check(self, vocab_size)
        return said

    def check_contracts(self) -> None:
        """UserError where noise, graph or sampler contradict their contracts on a few states."""
        graph = contracts.look_at(self.graph, self._vocab_size()[0])
        if not contracts.is_on_meta(graph):
            contracts.check_contracts(graph, self.noise, self.sampler)

    def describe_memory(self) -> str:
        """What training takes on each GPU, once the vocabulary is known."""
        vocab_size, known = self._vocab_size()
        return budget.describe(self, vocab_size) if known else ""

    def starts_from(self) -> list[str]:
        """`init_from`, if it is set."""
        return [] if self.init_from is None else [self.init_from]

    def execute(self, workspace: Workspace) -> list[Figure]:
        """Train and report, in the workspace's folder. The figures are those of the bound."""
        started, world = time.monotonic(), workspace.world
        console.say(f"data     {self.data.describe()}")
        world.agree(self._check_caches)
        codec, train, sets, model = world.agree(lambda: self._prepared(workspace))
        workspace.open()
        place_on(world.device, model, self.noise)
        trainer = Trainer(model, self.noise, train, self.optimizer, self.training, self.seed, world)
        valid = next(iter(sets.values()))
        console.say(f"         {len(train):,} training and {len(valid):,} validation sequences of {self.data.length}")
        console.say(f"model    {sum(p.numel() for p in trainer.parameters):,} parameters on {_where(workspace)}")
        console.say(f"folder   {workspace.folder}")

        stop = Stop()
        meter = Meter(trainer, self.data.length, _tokens_per_character(codec, train))
        loop = Loop(trainer, workspace, self.checkpoints, self.monitor, codec, meter, stop)
        first = loop.resume() if workspace.resume else 0
        _say_where(workspace, first)
        snapshots = Snapshots(
            *(model, self.noise, codec, self.sampler, sets, self.training, self.validation, self.samples),
            *(self.data.length, self.seed, workspace, self.monitor, stop, self.data.end()),
        )
        with self._monitored(workspace, first), stop.listening():
            try:
                trainer.objective.train()
                if first < self.training.steps:
                    world.agree(lambda: rehearse(loop, snapshots, first))
                with memory.explained("training", TRAINING):
                    loop.run(first, snapshots)
                trainer.objective.eval()
                with trainer.ema.in_place():
                    figures = snapshots.last(self.training.steps, train)
            except Stopped as stopped:
                console.say(loop.where_it_resumes())
                stopped.code = stop.code
                raise
            if self.monitor is not None and world.main:
                self.monitor.hyperparameters(dict(_flat(workspace.record.run, "")), snapshots.told)
        console.say(f"\nDone in {time.monotonic() - started:.0f} s. The run is in {workspace.folder}")
        return figures

    def _prepared(self, workspace: Workspace) -> tuple[Codec, Sequences, dict[str, Sequences], ScoreModel]:
        """The data, and the model as training starts from it; the workspace's record says the sizes of both."""
        codec, train, sets = self.data.codec(), self.data.split("train"), self._sets()
        budget.check(self, codec.vocab_size)
        torch.manual_seed(self.seed)
        model, arguments = self._compose(codec.vocab_size)
        for stage, values in arguments.items():
            workspace.record.node(stage)["args"].update(values)
        check_resumable(workspace, self.training, self.data.fingerprint())
        self._describe_data(workspace.record, train)
        if self.init_from is not None and not (workspace.resume and checkpoint.steps(workspace.folder)):
            loading.weights_of(Path(self.init_from), model, self.noise, codec)
        return codec, train, sets, model

    def _describe_data(self, record: Record, train: Sequences) -> None:
        end = self.data.end()
        record.data, record.length = self.data.fingerprint(), self.data.length
        record.end, record.conditioned_on = -1 if end is None else end, train.conditioned_on

    def _vocab_size(self) -> tuple[int, bool]:
        """V, and whether it is known before the data is read: else one of about a text's characters stands in."""
        size = self.data.vocab_size() or self.graph.keywords.get("vocab_size")
        return (STAND_IN, False) if size is None else (size, True)

    def _check_caches(self) -> None:
        """Each machine's first process does it. The others wait, but not for its data: all read the keys alike."""
        for data in (self.data, *self.more_valid):
            data.fingerprint()
            data.check_cache()

    def _sets(self) -> dict[str, Sequences]:
        """The validation sets by name, the run's own first. UserError when another has other tokens."""
        own = self.data.codec()
        sets: dict[str, Sequences] = {}
        for data in (self.data, *self.more_valid):
            difference = own.difference(data.codec())
            if difference:
                raise UserError(
                    f"The validation set {data.title} is tokenised otherwise than the training data ({difference}): "
                    "give it the same tokenizer (one learned from a text belongs to that text)."
                )
            sequences = data.split("valid")
            given = f"_given_{sequences.conditioned_on}" if sequences.conditioned_on else ""
            name = f"{data.title}{given}"
            sets[name if name not in sets else f"{name}_{len(sets)}"] = sequences
        return sets

    @contextmanager
    def _monitored(self, workspace: Workspace, first: int) -> Iterator[None]:
        """Within: the monitor is told of the run; the main process's alone."""
        if self.monitor is None or not workspace.world.main:
            yield
            return
        self.monitor.start(workspace.folder, first)
        try:
            if workspace.config_text or not first:  # else what it says stands there since an earlier start
                self.monitor.text("config", workspace.settings(), first)
                self.monitor.text("command", workspace.record.command, first)
                self.monitor.flush()
            yield
        finally:
            self.monitor.close()

    def _compose(self, vocab_size: int) -> tuple[ScoreModel, dict[str, dict[str, object]]]:
        graph, of_graph = complete(self.graph, "graph", vocab_size=vocab_size)
        model, of_model = complete(self.model, "model", num_states=graph.num_states)
        return ScoreModel(model, graph, self.score), {"graph": of_graph, "model": of_model}


def _tokens_per_character(codec: Codec, sequences: Sequences) -> float:
    """Of sequences from everywhere in a split, without their padding; 0 where they have no characters."""
    batch = sequences.batch(sequences.spread(256))
    in_all = int(characters(codec, batch).sum())
    return int(batch.in_text().sum()) / in_all if in_all else 0.0


def _where(workspace: Workspace) -> str:
    device, size = workspace.world.device.type, workspace.world.size
    return device if size == 1 else f"{device}, {size} processes"


def _say_where(workspace: Workspace, first: int) -> None:
    """From which step a run is resumed; that it starts anew, where it had begun and nothing of it was saved."""
    reached = workspace.log.reached() if workspace.resume else None
    if first:
        console.say(f"resumed  after step {first}")
    elif reached is not None:
        came = f"; its log reached step {reached}" if reached else ""
        console.say(f"No checkpoint in {workspace.folder}: starting from step 0{came}")


def _flat(node: Node, path: str) -> Iterator[tuple[str, bool | int | float | str]]:
    """Every scalar of a node by its path, and the variant of each stage."""
    for name, value in node["args"].items():
        here = f"{path}.{name}".lstrip(".")
        if isinstance(value, dict) and "args" in value:
            if "core" not in value:
                yield here, value.get("plugin", value.get("class", ""))
            yield from _flat(value, here)
        elif isinstance(value, bool | int | float | str):
            yield here, value
