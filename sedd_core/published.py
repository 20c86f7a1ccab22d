"""The layout of the published checkpoints: `config.json` of the original's training run, and `model.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import UserError
from .record import Node, Record


def is_published(path: Path) -> bool:
    """Whether a config.json is one of the original implementation's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged: {error}.") from error
    return isinstance(content, dict) and "format" not in content and {"graph", "noise", "model"} <= set(content)


def published_record(path: Path) -> Record:
    """The same model as a record: graph, noise, size and scaling as its config says."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        graph, noise, model = config["graph"], config["noise"], config["model"]
        vocab_size = config["tokens"]
        nodes: dict[str, Node] = {
            "graph": {"plugin": f"graph_{graph['type']}", "args": {"vocab_size": vocab_size}},
            "noise": {"plugin": f"noise_{noise['type']}", "args": _noise_arguments(noise)},
            "score": {"core": "ScoreHead", "args": {"scale_by_sigma": model["scale_by_sigma"]}},
            "model": {
                "plugin": "model_ddit",
                "args": {
                    "num_states": vocab_size + (graph["type"] == "absorb"),
                    **{name: model[name] for name in ("hidden_size", "n_blocks", "n_heads", "cond_dim", "dropout")},
                },
            },
        }
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no config of a published SEDD checkpoint: it lacks {error}.") from error
    return Record(run={"core": "Train", "args": nodes})


def _noise_arguments(noise: dict[str, Any]) -> dict[str, float]:
    if noise["type"] == "geometric":
        return {"sigma_min": float(noise["sigma_min"]), "sigma_max": float(noise["sigma_max"])}
    return {}
