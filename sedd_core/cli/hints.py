"""What somebody meant who typed a setting that there is not: names from other programs, and from other groups."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import fiddle as fdl

from ..errors import UserError, nearest
from ..record.upgrade import RENAMED
from ..registry.table import STAGES

TYPE_OF_A_STAGE = ("type", "kind", "variant", "predictor")
"""What other programs call the choice of a stage: graph.type=uniform."""
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
    "eval.batch_size": "validation.batch_size",
    "data.train": "data.name",
    "data.valid": "data.valid_name",
    "tokens": "data.vocab",
}
"""What the original implementation and other programs call our settings."""


MOVED = {
    "sedd_core.runs.settings": "sedd_core.training",
    "sedd_core.runs.train": "sedd_core.runs",
    "sedd_core.runs.sample": "sedd_core.runs",
    "sedd_core.score": "sedd_core.model",
}
"""Modules that experiments of version 0.1 import, and where their names are now."""


def renamed(error: BaseException) -> str:
    """The new name of what an experiment of version 0.1 calls by its old one, as a clause; "" for other errors."""
    if isinstance(error, ModuleNotFoundError) and error.name in MOVED:
        return f"; its names are in {MOVED[error.name]} now"
    found = re.search(r"\.(\w+)'>: got an unexpected keyword argument '(\w+)'", str(error))
    new = RENAMED.get(found[1], {}).get(found[2]) if found else None
    return f"; the setting is called {new} now" if new else ""


def parameters(config: fdl.Buildable[Any]) -> list[str]:
    """What can be set in a config."""
    return list(inspect.signature(fdl.get_callable(config)).parameters)


def check_known(config: fdl.Buildable[Any], owner: fdl.Buildable[Any], name: str, setting: str) -> None:
    """UserError, with the nearest that there is, unless `owner` (of `config`) has an argument of this name."""
    known = parameters(owner)
    if name in known:
        return
    path, _, value = setting.partition("=")
    paths, group = suggestions(config, path), path.partition(".")[0]
    hint = f" Did you mean {' or '.join(map(repr, paths))}?" if paths else nearest(name, known)
    if name in TYPE_OF_A_STAGE and group in STAGES:
        hint = f" A stage is chosen by name: {group}={value}."
    elif not path.endswith(name):  # the group is misspelt
        hint = nearest(path, paths) or hint
    where = _name(owner)
    raise UserError(f"There is no setting '{path}': {where} has no '{name}'.{hint} It has: {', '.join(known)}.")


def suggestions(config: fdl.Buildable[Any], path: str) -> list[str]:
    """Paths that a config has, for one that it lacks: settings of the same name elsewhere, or of a usual synonym."""
    last = path.rpartition(".")[2]
    synonym = SYNONYMS.get(path) or SYNONYMS.get(last)
    found = [known for known in _paths(config, "") if known == synonym or known.rpartition(".")[2] == last]
    return [known for known in found if known in (path, synonym)] or found


def _paths(config: fdl.Buildable[Any], prefix: str) -> Iterator[str]:
    """Every setting of a config."""
    for name in parameters(config):
        yield f"{prefix}{name}"
        inner = config.__arguments__.get(name)
        if isinstance(inner, fdl.Buildable):
            yield from _paths(inner, f"{prefix}{name}.")


def _name(config: fdl.Buildable[Any]) -> str:
    return getattr(fdl.get_callable(config), "__name__", "this")
