"""Where a run's numbers come from: versions, plugins, and the state of the repository."""

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
from ..record import Node
from ..record.record import Record
from ..registry.installed import find_plugin

MOST_DIFF = 1_000_000
"""Characters of an uncommitted diff that are kept."""


def record_of_run(node: Node, command: str) -> Record:
    """The record of a run that is about to start."""
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
    """The processor, its cores, torch's threads, and the GPUs."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpus": ", ".join(gpus) or "none",
    }


def _git() -> dict[str, str]:
    """Commit and uncommitted diff, new files too, of the repository around the command; empty outside of one."""
    commit = _run("git", "rev-parse", "HEAD").strip()
    if not commit:
        return {}
    with tempfile.TemporaryDirectory() as folder:  # a copy of the index, so that the user's own stays as it is
        index = Path(folder) / "index"
        own = Path(_run("git", "rev-parse", "--path-format=absolute", "--git-path", "index").strip())
        if own.is_file():
            shutil.copy(own, index)
        _run("git", "add", "--all", "--intent-to-add", ":/", index=index)
        diff = _run("git", "diff", "HEAD", index=index)
    cut = f"\n[{len(diff) - MOST_DIFF} more characters left out]" if len(diff) > MOST_DIFF else ""
    return {"commit": commit, "diff": diff[:MOST_DIFF] + cut}


def _run(*command: str, index: Path | None = None) -> str:
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=True, env=environment
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
