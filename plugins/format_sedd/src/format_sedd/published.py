"""Layout of the published checkpoints: `config.json` of the original's training run, and `model.safetensors` or
`pytorch_model.bin`.

Run folders of the original contain the same config as YAML (see `original`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from sedd_core import UserError
from sedd_core.families import expressible, inexpressible
from sedd_core.files import check_readable, write_text
from sedd_core.record import Node, Record
from sedd_core.tensors import read_weights

CONFIG, SAFE, PICKLED, TOKENIZER = "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json"
KEYS = ("graph", "noise", "model")
LAYOUT = "The published layout"
SIZES = ("hidden_size", "cond_dim", "n_blocks", "n_heads", "dropout")
SUPPORTED: dict[str, tuple[str, ...]] = {
    "graph_absorb": ("vocab_size",),
    "graph_uniform": ("vocab_size",),
    "noise_loglinear": (),
    "noise_geometric": ("sigma_min", "sigma_max"),
    "head_score": ("scale_by_sigma",),
    "model_ddit": ("num_states", *SIZES),
}
"""Plugins that the layout can express, each with the arguments that it states; the original fixes the other arguments
at our defaults."""


def is_published(folder: Path) -> bool:
    """Whether a folder has weights and a config.json of the original implementation.

    Args:
        folder: Folder, or any other path.

    Raises:
        UserError: The user may not read the config.
    """
    check_readable(folder / CONFIG)
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    has_weights = any((folder / name).is_file() for name in (SAFE, PICKLED))
    return has_weights and isinstance(content, dict) and set(KEYS) <= set(content) and "format" not in content


def published_record(folder: Path) -> Record:
    """Convert a published config.json to a record of its model.

    Args:
        folder: Folder of the model.

    Raises:
        UserError: The config is missing, damaged, incomplete, or not one of the original.
    """
    path = folder / CONFIG
    check_readable(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}, which describes the model of the weights beside it, is missing: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if not (isinstance(content, dict) and set(KEYS) <= set(content)):
        keys = ", ".join(list(content)[:6]) or "none" if isinstance(content, dict) else "none, it is not a dict"
        raise UserError(
            f"{path} is not the config of a SEDD model, which has the keys {', '.join(KEYS)} (present: {keys}). "
            "Give the folder of a published SEDD model."
        )
    return record_of_config(content, path)


def published_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a published model: safetensors, or else the pickle.

    Args:
        folder: Folder of the model.

    Raises:
        UserError: The weights are missing or damaged, or contain more than data.
    """
    return read_weights(next((folder / name for name in (SAFE, PICKLED) if (folder / name).is_file()), folder / SAFE))


def write_published(folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors.

    Args:
        folder: Existing folder.
        record: Record of the model.
        weights: Weights by name.

    Raises:
        UserError: The layout cannot express the model.
    """
    write_text(folder / CONFIG, json.dumps(published_config(record), indent=2, allow_nan=False) + "\n")
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / SAFE, {"format": "pt"})


def record_of_config(config: Any, path: Path) -> Record:
    """Convert a config of the original to a record: graph, noise, network, score scaling, and training length.

    Args:
        config: Parsed config.
        path: Path of the config, for messages.

    Raises:
        UserError: The config is incomplete or invalid, or uses types that the original does not support.
    """
    try:
        graph, noise, model = config["graph"], config["noise"], config["model"]
        plugins = [f"graph_{graph['type']}", f"noise_{noise['type']}", f"model_{model.get('type', 'ddit')}"]
        bounds = {name: float(noise[name]) for name in SUPPORTED.get(plugins[1], ())}
        nodes: dict[str, Any] = {
            "graph": Node("plugin", plugins[0], {"vocab_size": config["tokens"]}),
            "noise": Node("plugin", plugins[1], bounds),
            "head": Node("plugin", "head_score", {"scale_by_sigma": model["scale_by_sigma"]}),
            "model": Node(
                "plugin",
                plugins[2],
                {
                    "num_states": config["tokens"] + (graph["type"] == "absorb"),
                    **{name: model[name] for name in SIZES},
                },
            ),
            "length": model.get("length"),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a valid config of a SEDD model: {_reason(error)}.") from error
    for name in plugins:
        if name not in SUPPORTED:
            raise UserError(
                f"{path} uses {name}, which the original implementation does not support (supported: "
                f"{', '.join(SUPPORTED)})."
            )
    return Record(run=Node("core", "Train", nodes))


def published_config(record: Record) -> dict[str, Any]:
    """Convert a record to a config of the original; the inverse of `record_of_config`.

    Args:
        record: Record of a run or of a published model.

    Raises:
        UserError: The original's config cannot express the model, or the original's code does not support it.
    """
    graph, noise, model, head = expressible(record, SUPPORTED, LAYOUT).values()
    kinds = {stage: record.node(stage).name.partition("_")[2] for stage in ("graph", "noise", "model")}
    if head["scale_by_sigma"] and kinds["graph"] != "absorb":
        feature = "a score scaled by sigma on a graph other than absorb (head.scale_by_sigma=True)"
        raise inexpressible(feature, SUPPORTED, LAYOUT)
    return {
        "tokens": graph["vocab_size"],
        "graph": {"type": kinds["graph"]},
        "noise": {"type": kinds["noise"], **{name: noise[name] for name in SUPPORTED[record.node("noise").name]}},
        "model": {
            "type": kinds["model"],
            **{name: model[name] for name in SIZES},
            "length": record.length or record.run.args.get("length"),
            "scale_by_sigma": head["scale_by_sigma"],
        },
    }


def _reason(error: Exception) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
