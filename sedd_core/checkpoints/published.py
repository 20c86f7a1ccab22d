"""Layout of the published checkpoints: `config.json` of the original's training run, and `model.safetensors` or
`pytorch_model.bin`.

Run folders of the original contain the same config as YAML (see `original`).
"""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..build.build import class_of
from ..errors import UserError
from ..files import check_readable
from ..record.limits import MOST_LENGTH
from ..record.node import Node
from ..record.record import Record

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


def is_published(path: Path) -> bool:
    """Whether a config.json is a config of the original implementation, as opposed to the record of a run.

    Args:
        path: Path of the config.json.

    Raises:
        UserError: The file is missing or damaged, or neither of the two.
    """
    check_readable(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}, which describes the model of the weights beside it, is missing: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if isinstance(content, dict) and "format" in content:
        return False
    if isinstance(content, dict) and {"graph", "noise", "model"} <= set(content):
        return True
    keys = ", ".join(map(str, list(content)[:6])) or "none" if isinstance(content, dict) else "none, it is not a dict"
    raise UserError(
        f"{path} is not the config of a SEDD model, which has the keys graph, noise and model (present: {keys}). "
        "Give a run folder, a checkpoint folder, or the folder of a published SEDD model."
    )


def published_record(path: Path) -> Record:
    """Convert a published config.json to a record of its model.

    Args:
        path: Path of the config.json.

    Raises:
        UserError: The config is incomplete, invalid, or not one of the original.
    """
    return record_of_config(json.loads(path.read_text(encoding="utf-8")), path)


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
    for plugin in plugins:
        if plugin not in SUPPORTED:
            raise UserError(
                f"{path} uses {plugin}, which the original implementation does not support (supported: "
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
    nodes = {stage: record.node(stage) for stage in ("graph", "noise", "model", "head")}
    for stage in nodes:
        _check_supported(stage, nodes[stage])
    graph, noise, model, head = (_arguments(node) for node in nodes.values())
    kinds = {stage: nodes[stage].name.partition("_")[2] for stage in ("graph", "noise", "model")}
    if head["scale_by_sigma"] and kinds["graph"] != "absorb":
        raise _unsupported("a score scaled by sigma on a graph other than absorb (head.scale_by_sigma=True)")
    return {
        "tokens": graph["vocab_size"],
        "graph": {"type": kinds["graph"]},
        "noise": {"type": kinds["noise"], **{name: noise[name] for name in SUPPORTED[nodes["noise"].name]}},
        "model": {
            "type": kinds["model"],
            **{name: model[name] for name in SIZES},
            "length": trained_length(record),
            "scale_by_sigma": head["scale_by_sigma"],
        },
    }


def trained_length(record: Record) -> int | None:
    """Length of the sequences that a model was trained on.

    The class of the data is not required: its code may be missing or untrusted. Records of earlier versions omit a
    length that equals the class's default; for these, the default is looked up if the class can be loaded.

    Args:
        record: Record of a run or of a published model.

    Returns:
        Number of tokens per sequence; None if the record does not state it.

    Raises:
        UserError: The stated length is not a valid sequence length.
    """
    arguments = record.run.args
    if "data" in arguments:
        node = record.node("data")
        arguments = {"length": record.length} if record.length else node.args
        if "length" not in arguments:
            with suppress(UserError):
                arguments = _arguments(node)
    length = arguments.get("length")
    if length is not None and not (type(length) is int and 1 <= length <= MOST_LENGTH):
        raise UserError(
            f"The record is damaged: its training length is {length!r}; it must be an int from 1 to "
            f"{MOST_LENGTH:,} (tokens)."
        )
    return length


def _arguments(node: Node) -> dict[str, Any]:
    """A node's arguments, completed with the defaults of omitted ones."""
    parameters = inspect.signature(class_of(node)).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return defaults | node.args


def _check_supported(stage: str, node: Node) -> None:
    """UserError if the layout cannot express a stage, or an argument that differs from its default."""
    if node.kind != "plugin" or node.name not in SUPPORTED:
        raise _unsupported(f"the {stage} {node.name}")
    parameters = inspect.signature(class_of(node)).parameters
    for name, value in node.args.items():
        if name not in SUPPORTED[node.name] and value != parameters[name].default:
            raise _unsupported(f"{stage}.{name}={value!r}")


def _unsupported(feature: str) -> UserError:
    return UserError(
        f"The published layout does not support {feature}; it supports {', '.join(SUPPORTED)} with the original's "
        "arguments. Share the checkpoint folder instead: the model can be loaded from it alone."
    )


def _reason(error: Exception) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
