"""Configs of released models: read as data, with keys that differ from family to family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import check_readable

CONFIG = "config.json"
FAMILY_KEYS = ("model_type", "architectures", "auto_map", "_name_or_path")
"""Keys under which transformers stores the name of a model's family."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json; entries of an object under `model` count as entries of the config.

    Args:
        folder: Folder of a model.

    Raises:
        UserError: The config is missing, damaged, or not an object.
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
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it contains a {type(content).__name__}, not an object.")
    return flat(content)


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the entries of its `model` beside its own, which have precedence."""
    model = config.get("model")
    return {**model, **config} if isinstance(model, dict) else config


def says(config: Mapping[str, Any], *words: str) -> bool:
    """Whether a config of transformers names a family.

    Args:
        config: The config.
        words: Names of the family, in lower case.
    """
    text = json.dumps([config.get(key) for key in FAMILY_KEYS], default=str).lower()
    return any(word in text for word in words)
