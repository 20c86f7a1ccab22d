"""A layout that transformers' AutoModel loads: config.json with the record of the model, and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.files import check_readable, write_text
from sedd_core.record import Node, Record
from sedd_core.stages import Format
from sedd_core.tensors import read_weights

CONFIG, SAFE, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
MODEL_TYPE = "sedd"
"""Key of the model's class in transformers."""
PARTS = ("graph", "noise", "head", "model")


class TransformersFormat(Format):
    """Models for `transformers.AutoModel` (see `modeling`)."""

    title = "a model for transformers' AutoModel"
    files = (CONFIG, SAFE, TOKENIZER)

    def matches(self, path: Path) -> bool:
        """Whether the config has the model type "sedd" and a record."""
        check_readable(path / CONFIG)
        try:
            content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(content, dict) and content.get("model_type") == MODEL_TYPE and "run" in content

    def record(self, path: Path) -> Record:
        """The record of the model, which config.json contains."""
        try:
            content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            return Record(run=Node.from_json(content["run"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path / CONFIG} is not the config of {self.title}: {error}.") from error

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        """The one set of weights that the layout has."""
        return read_weights(path / SAFE)

    def tokenizer(self, path: Path) -> Path | None:
        """The tokenizer.json beside the weights."""
        return path / TOKENIZER if (path / TOKENIZER).is_file() else None

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        """Write config.json and model.safetensors."""
        length = record.length or record.run.args.get("length")
        nodes: dict[str, Any] = {part: record.node(part) for part in PARTS} | {"length": length}
        own = next((one for part in PARTS for one in record.node(part).nodes() if one.kind == "file"), None)
        if own is not None:
            raise UserError(
                f"A model for AutoModel consists of installed plugins; {own.name} is a class of the file {own.file}. "
                "Make a plugin of it, or share the checkpoint folder."
            )
        config = {
            "model_type": MODEL_TYPE,
            "architectures": ["SEDDModel"],
            "run": Node("core", "Train", nodes).to_json(),
        }
        write_text(folder / CONFIG, json.dumps(config, indent=1, allow_nan=False) + "\n")
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / SAFE, {"format": "pt"})


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return TransformersFormat
