"""Suggestions for unknown settings: names from other programs, other groups and earlier versions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import fiddle as fdl

from ..errors import UserError, nearest
from ..record.upgrade import RENAMED
from ..registry.table import STAGES

VARIANT_NAMES = ("type", "kind", "variant", "predictor")
"""Names that other programs use for the choice of a variant: graph.type=uniform."""
SYNONYMS = {
    **dict.fromkeys(("n_iters", "iters", "iterations", "max_steps", "num_steps", "train_steps"), "training.steps"),
    **dict.fromkeys(("learning_rate",), "optimizer.lr"),
    **dict.fromkeys(("grad_clip", "max_grad_norm"), "optimizer.clip"),
    **dict.fromkeys(("warmup_steps",), "optimizer.warmup"),
    **dict.fromkeys(("grad_accum", "gradient_accumulation_steps", "accumulation"), "training.accum"),
    **dict.fromkeys(("log_freq", "log_interval"), "training.log_every"),
    **dict.fromkeys(("snapshot_freq", "eval_freq", "snapshot_every"), "training.eval_every"),
    **dict.fromkeys(("snapshot_freq_for_preemption", "save_every", "save_freq"), "checkpoints.every"),
    **dict.fromkeys(("seq_len", "seq_length", "block_size", "context_length", "max_length"), "data.length"),
    **dict.fromkeys(("n_layers", "num_layers", "depth"), "model.n_blocks"),
    **dict.fromkeys(("num_heads",), "model.n_heads"),
    **dict.fromkeys(("d_model", "dim", "hidden_dim"), "model.hidden_size"),
    **dict.fromkeys(("num_samples", "n_samples"), "samples.count"),
    **dict.fromkeys(("predictor",), "sampler"),
    **dict.fromkeys(("gpus", "num_gpus"), "ngpus"),
    "sampling.steps": "samples.steps",
    "eval.batch_size": "evaluator.batch_size",
    "data.train": "data.name",
    "data.valid": "data.valid_name",
    "tokens": "data.vocab",
}
"""Settings by the names that the original implementation and other programs use."""
PLUGINS = {
    "ScoreHead": 'is a plugin now: head=stage("head_score")',
    "Validation": 'is a plugin now: evaluator=stage("evaluator_bound")',
}
"""What became of classes of version 0.1."""
MOVED = {
    "sedd_core.runs.settings": "sedd_core.training",
    "sedd_core.runs.train": "sedd_core.runs",
    "sedd_core.runs.sample": "sedd_core.runs",
    "sedd_core.score": f"sedd_core.model; ScoreHead {PLUGINS['ScoreHead']}",
}
"""Modules that experiments of version 0.1 import, with the rooms that export their names now."""


def renamed(error: BaseException) -> str:
    """A clause with the new name of a module or setting of version 0.1; "" for other errors."""
    if isinstance(error, ModuleNotFoundError) and error.name in MOVED:
        return f"; import its names from {MOVED[error.name]}"
    missing = re.search(r"cannot import name '(\w+)'", str(error)) if isinstance(error, ImportError) else None
    if missing and missing[1] in PLUGINS:
        return f"; it {PLUGINS[missing[1]]}"
    found = re.search(r"\.(\w+)'>: got an unexpected keyword argument '(\w+)'", str(error))
    new = RENAMED.get(found[1], {}).get(found[2]) if found else None
    return f"; the setting has been renamed to {new}" if new else ""


def parameters(config: fdl.Buildable[Any]) -> list[str]:
    """The names of a config's parameters."""
    return list(inspect.signature(fdl.get_callable(config)).parameters)


def check_known(config: fdl.Buildable[Any], owner: fdl.Buildable[Any], name: str, setting: str) -> None:
    """Check that a setting exists.

    Args:
        config: Config of the run.
        owner: Config, within `config`, of the group to set.
        name: Last component of the setting's path.
        setting: Setting as typed: path or path=value.

    Raises:
        UserError: `owner` has no parameter `name`; with suggestions.
    """
    known = parameters(owner)
    if name in known:
        return
    path, _, value = setting.partition("=")
    paths, group = suggestions(config, path), path.partition(".")[0]
    hint = f" Did you mean {' or '.join(map(repr, paths))}?" if paths else nearest(name, known)
    if name in VARIANT_NAMES and group in STAGES:
        hint = f" Choose a variant by name: {group}={value}."
    elif not path.endswith(name):  # the group is misspelled
        hint = nearest(path, paths) or hint
    raise UserError(f"Unknown setting '{path}': {_name(owner)} has no '{name}'.{hint} It has: {', '.join(known)}.")


def suggestions(config: fdl.Buildable[Any], path: str) -> list[str]:
    """Existing paths for an unknown one: settings of that name in other groups, or of a common synonym."""
    last = path.rpartition(".")[2]
    synonym = SYNONYMS.get(path) or SYNONYMS.get(last)
    found = [known for known in _paths(config, "") if known == synonym or known.rpartition(".")[2] == last]
    return [known for known in found if known in (path, synonym)] or found


def _paths(config: fdl.Buildable[Any], prefix: str) -> Iterator[str]:
    """The path of every setting of a config."""
    for name in parameters(config):
        yield f"{prefix}{name}"
        inner = config.__arguments__.get(name)
        if isinstance(inner, fdl.Buildable):
            yield from _paths(inner, f"{prefix}{name}.")


def _name(config: fdl.Buildable[Any]) -> str:
    return getattr(fdl.get_callable(config), "__name__", "this")
