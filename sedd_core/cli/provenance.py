"""Where a run's numbers come from: versions, plugins, and the state of the repository."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata

import torch

from .. import __version__
from ..plugins import find
from ..record import Node, Record, plugin_names

MOST_DIFF = 1_000_000
"""Characters of an uncommitted diff that are kept."""


def record_of(node: Node, command: str) -> Record:
    """The record of a run that is about to start."""
    owners = {name: find(name) for name in sorted(set(plugin_names(node)))}
    return Record(
        run=node,
        command=command,
        plugins={name: {"distribution": o.distribution, "version": o.version} for name, o in owners.items()},
        versions={
            "sedd-core": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "numpy", "tokenizers")},
        },
        hardware=_hardware(),
        git=_git(),
    )


def _hardware() -> dict[str, str]:
    """The processor, its cores, torch's threads, and the GPUs."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpus": ", ".join(gpus) or "none",
    }


def _git() -> dict[str, str]:
    """Commit and uncommitted diff of the repository that the command runs in; empty outside of one."""
    commit = _run("git", "rev-parse", "HEAD").strip()
    return {"commit": commit, "diff": _run("git", "diff", "HEAD")[:MOST_DIFF]} if commit else {}


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
