"""Evaluation run: from a checkpoint and data to figures with their errors."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import console
from ..build.build import build_part
from ..build.workspace import Workspace
from ..checkpoints import Found, Loaded, find_checkpoint, load_found, trained_length
from ..distributed.preemption import Stop
from ..errors import UserError
from ..evaluation.facts import SetFacts, facts_of
from ..model.inference import Inference
from ..record import Figure, Node, recordable
from ..record.figures import to_json
from ..stages import Data, EvalData, Evaluator, Monitor, Sequences
from ..text.codec import Codec
from ..text.hub import without_folders
from ..training.context import RunContext
from ..training.evaluation import Subject
from ..training.limits import check_at_least, check_seed, require
from ..training.validation import FigureEvaluation
from .run import Run
from .sets import evaluators_by_path, fail_safe_monitors, monitored, validation_sets

T_MIN = 1e-3
"""Smallest diffusion time for a checkpoint whose record states none."""


@recordable
@dataclass(frozen=True, kw_only=True)
class Evaluate(Inference, Run):
    """Evaluate a checkpoint on validation data. The figures depend on neither batch size nor number of processes."""

    checkpoint: str
    """Run folder, checkpoint folder, or folder, file or hub id in an installed format, such as a published model."""
    checkpoint_format: str | None = None
    """Format to read the checkpoint with, such as sedd; None: the one that matches (python -m sedd_core plugins)."""
    tokenizer: str = ""
    """Tokenizer for a model without one: a tokenizer.json, a folder or a hub id (gpt2 for the published models)."""
    ema: bool = True
    """Whether the averaged weights are used."""
    data: Data | None = None
    """Data whose validation split is evaluated; None: the data that the checkpoint was trained on."""
    more_valid: tuple[Data, ...] = ()
    """Further data sets whose validation splits are evaluated too."""
    evaluator: Evaluator
    """Evaluation; a table of runs is sorted by its first figure."""
    evaluators: tuple[Evaluator, ...] = ()
    """Further evaluations, made after the first."""
    t_min: float | None = None
    """Smallest diffusion time of the bound; None: as in training, or .001 where the checkpoint does not state it."""
    monitor: Monitor | None = None
    """Receiver of metrics and texts, such as TensorBoard; None: only the log."""
    monitors: tuple[Monitor, ...] = ()
    """Further receivers of the same metrics and texts."""
    seed: int = 0
    """Random seed of the evaluation."""
    ngpus: int | None = None
    """Number of processes that share the sequences; None: all GPUs of this machine, or one process on a CPU."""

    def __post_init__(self) -> None:
        check_at_least(1, ngpus=self.ngpus)
        check_seed(self.seed)
        require(self.t_min is None or 0 < self.t_min < 1, f"t_min must lie between 0 and 1, not {self.t_min}")
        require(
            self.checkpoint != "", "checkpoint is empty: set a run folder, a checkpoint folder or a published model"
        )

    def describe(self) -> str:
        """Describe the checkpoint and the data."""
        data = "as in training" if self.data is None else self.data.describe()
        return f"checkpoint {self.checkpoint}\ndata       {data}"

    def starts_from(self) -> list[tuple[str, str | None]]:
        """Checkpoint to evaluate."""
        return [(self.checkpoint, self.checkpoint_format)]

    def execute(self, workspace: Workspace) -> list[Figure]:
        """Evaluate, and write evaluation.json beside the files of every run.

        Args:
            workspace: Folder, processes and record of the run.

        Returns:
            The figures of the evaluators.
        """
        started, world = time.monotonic(), workspace.world
        found = world.agree(lambda: find_checkpoint(Path(self.checkpoint), self.checkpoint_format))
        loaded = world.agree(lambda: self._loaded(found, str(world.device)))
        codec, sets = world.in_turn(lambda: self._data(found, loaded))
        facts = world.agree(lambda: {name: facts_of(sequences) for name, sequences in sets.items()})
        workspace.record.data = " ".join(one.sha256 for one in facts.values())
        workspace.open()
        parameters = sum(p.numel() for p in loaded.model.parameters())
        console.say(f"model    {parameters:,} parameters, {loaded.model.precision}")
        for name, one in facts.items():
            console.say(f"set      {name}: {one}")
        data = EvalData(codec=codec, train=None, valid_sets=sets)
        context = RunContext(workspace, fail_safe_monitors(self.monitor, self.monitors, world), Stop(), self.seed)
        subject = Subject(loaded.model, loaded.noise, data, self._t_min(loaded))
        evaluation = FigureEvaluation(evaluators_by_path(self.evaluator, self.evaluators), subject, context)
        with monitored(context, 0), context.stop.listening():
            figures = evaluation.conclude(0)
        context.on_main(lambda: self._write(workspace, loaded.model.precision, facts, figures))
        console.say(f"\nDone in {time.monotonic() - started:.0f} s. Written to {workspace.folder}")
        return figures

    def _loaded(self, found: Found, device: str) -> Loaded:
        loaded = load_found(found, ema=self.ema, device=device, tokenizer=self.tokenizer or None)
        self.prepare(loaded.model)
        return loaded

    def _t_min(self, loaded: Loaded) -> float:
        training = loaded.record.run.args.get("training")
        stated = training.args.get("t_min") if isinstance(training, Node) else None
        return self.t_min or (stated if isinstance(stated, float) and 0 < stated < 1 else T_MIN)

    def _data(self, found: Found, loaded: Loaded) -> tuple[Codec, dict[str, Sequences]]:
        """Tokenizer and sets of the evaluation. UserError if they do not suit the checkpoint."""
        if self.data is None and "data" not in loaded.record.run.args:
            raise UserError(f"{self.checkpoint} does not state the data that it was trained on: set data=...")
        own: Data = build_part(loaded.record, "data") if self.data is None else self.data
        sources, longest = (own, *self.more_valid), trained_length(loaded.record)
        for data in sources:
            if longest is not None and data.length > longest:
                raise UserError(
                    f"{data.title} has sequences of {data.length:,} tokens, but the model was trained on "
                    f"{longest:,}: set data.length to at most that."
                )
        codec = loaded.codec or own.codec()
        if codec.vocab_size != loaded.graph.vocab_size:
            raise UserError(
                f"The tokenizer of {own.title} has {codec.vocab_size:,} tokens, but the model {self.checkpoint} has "
                f"{loaded.graph.vocab_size:,}: use the tokenizer that the model was trained with (data.tokenizer)."
            )
        stored = found.tokenizer()
        remedy = f"data.tokenizer={stored}" if stored else "set data.tokenizer to that of the checkpoint"
        return codec, validation_sets(codec, sources, f"the checkpoint {self.checkpoint}", remedy)

    def _write(
        self, workspace: Workspace, precision: str, facts: Mapping[str, SetFacts], figures: list[Figure]
    ) -> None:
        content = {
            "checkpoint": without_folders(self.checkpoint),
            "weights": "averaged" if self.ema else "raw",
            "precision": precision,
            "seed": self.seed,
            "processes": workspace.world.size,
            "sets": {name: asdict(one) for name, one in facts.items()},
            "figures": json.loads(to_json(figures)),
        }
        workspace.write_side_file("evaluation.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
