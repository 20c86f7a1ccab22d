"""The model card of an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..record.node import Node
from ..record.record import Record
from ..text.hub import without_folders
from .description import STAGES, model_rows
from .load import Loaded


def model_card(name: str, loaded: Loaded, source: Path, ema: bool, layout: str) -> str:
    """Write the text of a model card: description, training as far as recorded, and usage.

    Paths in the record are reduced to file names.

    Args:
        name: Name of the model.
        loaded: Checkpoint of the model.
        source: Folder of the checkpoint. The run's likelihood bound is quoted if it belongs to these weights.
        ema: Whether the weights are the averaged ones.
        layout: Title of the format of the files.

    Returns:
        Markdown.
    """
    parts = [FRONT, f"# {name}\n\n{WHAT}", _table(_model_rows(loaded.record, ema))]
    training = _training_rows(loaded.record)
    if training:
        parts.append(f"## Training\n\n{_table(training)}")
    bound = _bound(source.resolve(), loaded.record) if ema else ""
    if bound:
        parts.append(f"## Likelihood bound\n\n```\n{bound}\n```")
    tokenizer = "" if loaded.codec else " tokenizer=..."
    parts.append(f"## Use\n\n{USE.format(name=name, tokenizer=tokenizer, layout=layout)}")
    return "\n\n".join(parts) + "\n"


FRONT = """---
library_name: sedd-core
tags:
- sedd
- discrete-diffusion
- text-generation
---"""
WHAT = "A discrete diffusion language model: a forward process, a noise schedule, a network, and what its logits mean."
USE = """    from sedd_core import load_model

    model, graph, noise = load_model("{name}")    # this folder's path, or its id on the hub
    log_score = model(x, noise(t))                # [B, L, S]: log p(x_i := y) / p(x), 0 at y = x_i

Samples: `python launch.py --fdl_config=experiments/sample.py --checkpoint={name}{tokenizer}`. The files
have the layout of {layout}."""


def _model_rows(record: Record, ema: bool) -> dict[str, str]:
    """Rows of the table about the model: name to value."""
    rows = {stage: _shown(record.node(stage)) for stage in STAGES} | model_rows(record)
    return rows | {"weights": "averaged over training" if ema else "without averaging, where the source has both"}


def _training_rows(record: Record) -> dict[str, str]:
    """Rows of the table about training: data, optimizer, settings and code, as far as recorded."""
    arguments = record.run.args
    rows = {name: _shown(arguments[name]) for name in ("data", "optimizer", "training") if name in arguments}
    rows |= {name: version for name, version in record.versions.items() if name in ("sedd-core", "torch")}
    if record.git.get("commit"):
        rows["commit"] = record.git["commit"] + (" with changes" if record.git.get("diff") else "")
    return rows


def _bound(source: Path, record: Record) -> str:
    """Content of the run's validation.txt; "" unless the checkpoint is that of the run's last step."""
    file = source.parents[1] / "validation.txt" if source.parent.name == "checkpoints" else None
    training = record.run.args.get("training")
    last = training.args.get("steps") if isinstance(training, Node) else None
    if file is None or source.name != f"step_{last or 0:09d}":
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # missing or unreadable: optional
        return ""


def _shown(node: Node) -> str:
    """A node as a Python call, without default arguments."""
    return f"`{node.name}({', '.join(f'{name}={_value(value)}' for name, value in node.args.items())})`"


def _value(value: Any) -> str:
    if isinstance(value, Node):
        return _shown(value).strip("`")
    if isinstance(value, tuple):
        items = [_value(item) for item in value]
        return f"({', '.join(items)}{',' * (len(items) == 1)})"
    return repr(without_folders(value) if isinstance(value, str) else value).replace("|", "\\|")


def _table(rows: dict[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])
