"""Provenance of a run: versions, plugins, hardware, and the state of the repository."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import torch

from .. import __version__
from ..distributed.world import gpu_count
from ..record import Node
from ..record.record import Record
from ..registry.installed import find_plugin

MAX_DIFF = 1_000_000
"""Maximum length of a recorded uncommitted diff, in characters."""


def record_of_run(node: Node, command: str) -> Record:
    """The record of a run that is about to start.

    Args:
        node: Record node of the run.
        command: Command line that starts it.
    """
    names = {inner.name for inner in node.nodes() if inner.kind == "plugin"}
    owners = {name: find_plugin(name) for name in sorted(names)}
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
    """Processor architecture, number of cores, number of torch threads, and GPU names."""
    gpus = [torch.cuda.get_device_name(index) for index in range(gpu_count())]
    return {
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpus": ", ".join(gpus) or "none",
    }


def _git() -> dict[str, str]:
    """Commit and uncommitted diff (with new files) of the repository of the current folder; {} outside of one."""
    commit = _run("git", "rev-parse", "HEAD").strip()
    if not commit:
        return {}
    with tempfile.TemporaryDirectory() as folder:  # a copy, so that the user's index is not modified
        index = Path(folder) / "index"
        own = Path(_run("git", "rev-parse", "--path-format=absolute", "--git-path", "index").strip())
        if own.is_file():
            shutil.copy(own, index)
        _run("git", "add", "--all", "--intent-to-add", ":/", index=index)
        diff = _run("git", "diff", "HEAD", index=index)
    cut = f"\n[{len(diff) - MAX_DIFF} more characters omitted]" if len(diff) > MAX_DIFF else ""
    return {"commit": commit, "diff": diff[:MAX_DIFF] + cut}


def _run(*command: str, index: Path | None = None) -> str:
    """The output of a git command on an index; "" where it fails."""
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=True, env=environment
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
