"""Export of a checkpoint to the layout of a format, for the hub or another program, with a model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..console import say
from ..errors import UserError
from ..files import TEMPORARY, check_readable, write_text, writing_folder
from ..record.node import Node
from ..record.record import Record
from ..text.hub import without_folders
from .find import DEFAULT, find_checkpoint
from .folder import CODEC
from .formats import format_named
from .length import trained_length
from .load import Loaded, load_found
from .weights import state_dict_of

CARD = "README.md"


def export(path: str | Path, folder: str | Path, *, ema: bool = True, format: str = DEFAULT) -> None:
    """Write a model in the layout of a format, its tokenizer.json (if it has one) and a model card to a folder.

    Args:
        path: Checkpoint, as for `load_checkpoint`.
        folder: New or empty folder to write.
        ema: Whether to export the averaged weights.
        format: Name of the format to write.

    Raises:
        UserError: The format is not installed or is read only, the layout cannot express the model, or the folder is
            not empty or cannot be written. Nothing is written then.
    """
    layout, found, target = format_named(format), find_checkpoint(Path(path)), Path(folder)
    staging = target.with_name(target.name + TEMPORARY)
    for location in (target, staging):
        check_readable(location)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists and is not an empty folder. Choose a new folder.")
    if staging.exists():
        raise UserError(f"{staging}, the temporary folder of the export, exists. Remove it, or choose another folder.")
    loaded = load_found(found, ema=ema)
    record = replace(loaded.record, length=trained_length(loaded.record) or 0)
    try:
        with writing_folder(target) as temporary:
            layout.write(temporary, record, state_dict_of(loaded.model, loaded.noise))
            if loaded.codec is not None:
                loaded.codec.save(temporary / CODEC)
            write_text(temporary / CARD, model_card(target.name, loaded, found.path, ema, layout.title))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{target} cannot be written: {error}. Choose another folder.") from error


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
    parts = [FRONT, f"# {name}\n\n{WHAT}", _table(_model_rows(loaded, ema))]
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
WHAT = """A discrete diffusion language model, trained by score entropy
([SEDD, arXiv 2310.16834](https://arxiv.org/abs/2310.16834))."""
USE = """    from sedd_core import load_model

    model, graph, noise = load_model("{name}")    # this folder's path, or its id on the hub
    log_score = model(x, noise(t))                # [B, L, S]: log p(x_i := y) / p(x), 0 at y = x_i

Samples: `python launch.py --fdl_config=experiments/sample.py --checkpoint={name}{tokenizer}`. The files
have the layout of {layout}."""


def _model_rows(loaded: Loaded, ema: bool) -> dict[str, str]:
    """Rows of the table about the model: name to value."""
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    mask = "" if loaded.graph.mask is None else " and a mask"
    rows = {stage: _shown(loaded.record.node(stage)) for stage in ("graph", "noise", "model", "head")}
    rows["states"] = f"{loaded.graph.num_states:,}: {loaded.graph.vocab_size:,} tokens{mask}"
    rows["parameters"] = f"{parameters:,}"
    length = trained_length(loaded.record)
    if length is not None:
        rows["sequence length"] = f"{length:,} tokens"
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


def main(path: str, folder: str, format: str = DEFAULT) -> int:
    """Run `python -m sedd_core export RUN FOLDER [FORMAT]`.

    Args:
        path: Checkpoint, as for `load_checkpoint`.
        folder: New or empty folder to write.
        format: Name of the format to write.

    Returns:
        The exit code.

    Raises:
        UserError: The export fails (see `export`).
    """
    export(path, folder, format=format)
    say(f"Written to {folder}. Review {CARD} and add a license before sharing it.")
    return 0
