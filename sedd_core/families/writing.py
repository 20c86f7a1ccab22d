"""Whether a family's layout can express a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from ..record.node import Node
from ..record.record import Record
from ..registry.plugins import plugin


def expressible(record: Record, supported: Mapping[str, tuple[str, ...]], layout: str) -> dict[str, dict[str, Any]]:
    """The arguments of a model's stages, completed with the defaults of omitted ones.

    Args:
        record: Record of the model.
        supported: Plugins that the layout expresses, each with the arguments that it states; the authors' code fixes
            the others at our defaults.
        layout: Name of the layout, for messages.

    Returns:
        Arguments by name, for each of graph, noise, model and head.

    Raises:
        UserError: The layout cannot express a stage, or an argument that differs from its default.
    """
    found = {}
    for stage in ("graph", "noise", "model", "head"):
        node = record.node(stage)
        if node.kind != "plugin" or node.name not in supported:
            raise inexpressible(f"the {stage} {node.name}", supported, layout)
        found[stage] = _arguments(node)
        parameters = inspect.signature(plugin(node.name)).parameters
        for name, value in node.args.items():
            if name not in supported[node.name] and value != parameters[name].default:
                raise inexpressible(f"{stage}.{name}={value!r}", supported, layout)
    return found


def inexpressible(feature: str, supported: Mapping[str, tuple[str, ...]], layout: str) -> UserError:
    """The error to raise for a feature of a model that a layout cannot express. Args: see `expressible`."""
    return UserError(
        f"{layout} does not support {feature}; it supports {', '.join(supported)} with the original's arguments. Share "
        "the checkpoint folder instead: the model can be loaded from it alone."
    )


def _arguments(node: Node) -> dict[str, Any]:
    parameters = inspect.signature(plugin(node.name)).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return defaults | node.args
