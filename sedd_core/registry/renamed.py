"""Names of version 0.1 that plugins use, and what stands in their place, for messages (docs/from-0.1.md)."""

from __future__ import annotations

import re

MODULES = {
    **dict.fromkeys(("categorical", "draws", "numerics"), "maths"),
    **dict.fromkeys(("codec", "texts", "tokenizer"), "text"),
    **dict.fromkeys(("bound", "references"), "evaluation"),
    "tokens": "data",
}
"""Modules of sedd_core, with the rooms that have their names now."""
NAMES = {
    "Counts": "SamplerStats",
    "FactorisedSampler": "FactorizedSampler, which states step_weights(x, score, step, graph)",
    "Given": "FixedTokens",
    "PackedSequences": "sedd_core.data.PackedSequences",
    "TimedScore": "ScoreFunction",
    "Weights": "StepWeights",
}
"""Names of sedd_core.stages."""
METHODS = {
    "graph": {"active": "reachable(x, level)"},
    "sampler": {
        "aim": "reweight_targets(weights, x)",
        "law": "step_distribution(x, level, level_next, score_fn, graph)",
        "misfit": "incompatibility(graph)",
        "weights": "step_weights(x, score, step, graph)",
    },
}
"""Methods by stage."""


def new_name(error: BaseException) -> str:
    """A clause with what stands in place of a module or name that version 0.1 had; "" for other errors."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").removeprefix("sedd_core.") in MODULES:
        return f"; since 0.2 its names are in sedd_core.{MODULES[str(error.name).removeprefix('sedd_core.')]}"
    found = re.search(r"cannot import name '(\w+)' from 'sedd_core", str(error))
    return f"; since 0.2 that is {NAMES[found[1]]}" if found and found[1] in NAMES else ""


def renamed_method(cls: type, stage: str) -> str | None:
    """Why a class with a method of version 0.1 does not satisfy its contract; None if it has none.

    Without this check, an optional method under its old name would silently have no effect.

    Args:
        cls: Class that a plugin provides.
        stage: Name of its stage.
    """
    for old, new in METHODS.get(stage, {}).items():
        if old in vars(cls):
            return f"{cls.__name__}.{old} has been renamed: since 0.2 it is {new}"
    return None
