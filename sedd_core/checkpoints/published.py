"""The layout of the published checkpoints: `config.json` of the original's training run, and `model.safetensors`
or `pytorch_model.bin`.

A run of the original's own has the same config as YAML (see `original`).
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
SAID: dict[str, tuple[str, ...]] = {
    "graph_absorb": ("vocab_size",),
    "graph_uniform": ("vocab_size",),
    "noise_loglinear": (),
    "noise_geometric": ("sigma_min", "sigma_max"),
    "model_ddit": ("num_states", *SIZES),
}
"""The plugins that the layout has words for, and which of their arguments it states; the original fixes the others at
our defaults."""


def is_published(path: Path) -> bool:
    """Whether a config.json is one of the original implementation's; if not it is the record of a run.

    UserError when it is neither.
    """
    check_readable(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}, which says what the weights beside it are, is missing: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if isinstance(content, dict) and "format" in content:
        return False
    if isinstance(content, dict) and {"graph", "noise", "model"} <= set(content):
        return True
    has = f"has {', '.join(map(str, list(content)[:6])) or 'nothing'}" if isinstance(content, dict) else "is no table"
    raise UserError(
        f"{path} is of another kind of model: it {has}, where SEDD's has graph, noise and model. Give a run folder, "
        "a checkpoint folder, or the folder of a published SEDD model."
    )


def published_record(path: Path) -> Record:
    """The model of a published config.json as a record."""
    return record_of_config(json.loads(path.read_text(encoding="utf-8")), path)


def record_of_config(config: Any, path: Path) -> Record:
    """The model of the original's config as a record: graph, noise, size and scaling, and the length trained on.

    path: of the config, for messages. UserError when something is missing, or is none of the original's.
    """
    try:
        graph, noise, model = config["graph"], config["noise"], config["model"]
        kinds = [f"graph_{graph['type']}", f"noise_{noise['type']}", f"model_{model.get('type', 'ddit')}"]
        ends = [(end, float(noise[end])) for end in ("sigma_min", "sigma_max") if kinds[1] == "noise_geometric"]
        nodes: dict[str, Any] = {
            "graph": Node("plugin", kinds[0], {"vocab_size": config["tokens"]}),
            "noise": Node("plugin", kinds[1], dict(ends)),
            "score": Node("core", "ScoreHead", {"scale_by_sigma": model["scale_by_sigma"]}),
            "model": Node(
                "plugin",
                kinds[2],
                {
                    "num_states": config["tokens"] + (graph["type"] == "absorb"),
                    **{name: model[name] for name in SIZES},
                },
            ),
            "length": model.get("length"),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no config of a SEDD model: {_lack(error)}.") from error
    for kind in kinds:
        if kind not in SAID:
            raise UserError(f"{path} asks for {kind}, which the original has not; it has {', '.join(SAID)}.")
    return Record(run=Node("core", "Train", nodes))


def published_config(record: Record) -> dict[str, Any]:
    """The inverse of `record_of_config`.

    Raises:
        UserError: The original's config or code cannot express what the record says.
    """
    nodes = {stage: record.node(stage) for stage in ("graph", "noise", "model", "score")}
    for stage in ("graph", "noise", "model"):
        _check_said(stage, nodes[stage])
    graph, noise, model, score = (_arguments(node) for node in nodes.values())
    kinds = {stage: nodes[stage].name.partition("_")[2] for stage in ("graph", "noise", "model")}
    if score["scale_by_sigma"] and kinds["graph"] != "absorb":
        raise _unsaid("a score scaled by sigma on a graph other than absorb (score.scale_by_sigma=True)")
    return {
        "tokens": graph["vocab_size"],
        "graph": {"type": kinds["graph"]},
        "noise": {"type": kinds["noise"], **{name: noise[name] for name in SAID[nodes["noise"].name]}},
        "model": {
            "type": kinds["model"],
            **{name: model[name] for name in SIZES},
            "length": trained_length(record),
            "scale_by_sigma": score["scale_by_sigma"],
        },
    }


def trained_length(record: Record) -> int | None:
    """Tokens of the sequences that a model was trained on, of any record; None where it does not say.

    The data's class is not needed: its code need be neither installed nor trusted. Records of earlier versions leave
    out a length that is the class's default; there the class is asked, where it can be had.

    UserError when it states no length that sequences can have.
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
            f"The record is damaged: the length that the model was trained on is {length!r}; it must be a "
            f"number of tokens from 1 to {MOST_LENGTH:,}."
        )
    return length


def _arguments(node: Node) -> dict[str, Any]:
    """A node's arguments, with the defaults of those that it leaves out."""
    parameters = inspect.signature(class_of(node)).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not p.empty} | node.args


def _check_said(stage: str, node: Node) -> None:
    """UserError when the layout has no words for a stage, or for an argument that is not at its default."""
    if node.kind != "plugin" or node.name not in SAID:
        raise _unsaid(f"the {stage} {node.name}")
    parameters = inspect.signature(class_of(node)).parameters
    for name, value in node.args.items():
        if name not in SAID[node.name] and value != parameters[name].default:
            raise _unsaid(f"{stage}.{name}={value!r}")


def _unsaid(what: str) -> UserError:
    return UserError(
        f"The published layout cannot say {what}; it knows {', '.join(SAID)}, as the original has them. Share the "
        "checkpoint folder instead: it is enough to load the model from."
    )


def _lack(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
