"""`python -m sedd_core doctor` and `plugins`: what this machine has, what is wrong with it, and what to do."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from ..console import say
from ..errors import UserError
from ..files import cache_folder
from ..registry.installed import folders, installed, stage_of_or_none
from ..registry.table import STAGES

HUB = ("huggingface.co", 443)


PATIENCE = 3.0
"""Seconds to wait for the hub."""


class Finding(NamedTuple):
    """One line of the doctor's: a fault says what to do about it."""

    subject: str
    state: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Everything looked at, in order."""
    old = sys.version_info < (3, 11)
    yield Finding("python", platform.python_version(), "install Python 3.11 or newer" if old else "")
    yield from _torch()
    yield _flash_attention()
    yield _hub()
    yield from _plugins()
    yield _writable("run folder", Path("runs"), "--run_folder=...")
    yield _writable("token cache", cache_folder(), "SEDD_CACHE=...")


def doctor() -> int:
    """Print the findings; 1 when there is a fault."""
    faults = 0
    for finding in findings():
        faults += bool(finding.remedy)
        mark = "!!" if finding.remedy else "ok"
        say(f"{mark} {finding.subject:<18} {finding.state}" + (f": {finding.remedy}" if finding.remedy else ""))
    say(f"{faults} to mend" if faults else "all is well")
    return int(faults > 0)


def list_plugins(check: bool, as_json: bool) -> int:
    """Print every plugin; `check` imports each and reports what fails, with exit code 1."""
    rows: list[dict[str, Any]] = []
    for name, owners in installed().items():
        row: dict[str, Any] = {"name": name, "distributions": [f"{o.distribution} {o.version}" for o in owners]}
        fault = _fault(name) if check else None
        rows.append({**row, **({"fault": fault} if check else {})})
    if as_json:
        say(json.dumps(rows, indent=1))
    else:
        for row in rows:
            fault = row.get("fault")
            status = "" if not check else f"  !! {fault}" if fault else "  ok"
            say(f"{row['name']:<20} {', '.join(row['distributions'])}{status}")
    return int(any(row.get("fault") for row in rows))


def _fault(name: str) -> str | None:
    from ..registry.plugins import plugin

    try:
        plugin(name)
    except UserError as error:
        return str(error)
    return None


def _torch() -> Iterator[Finding]:
    import torch

    built = torch.version.cuda
    yield Finding("torch", f"{torch.__version__}, built for {f'CUDA {built}' if built else 'the CPU'}")
    if not torch.cuda.is_available():
        broken = built is not None and Path("/proc/driver/nvidia").exists()
        remedy = (
            f"a driver is there, but not one for CUDA {built}: update it, or install another torch" if broken else ""
        )
        yield Finding("GPUs", "none: runs use the CPU", remedy)
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding(f"GPU {index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB")
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    yield Finding("NCCL", "available" if nccl else "missing", "" if nccl else "install a torch built with NCCL")


def _flash_attention() -> Finding:
    if importlib.util.find_spec("flash_attn") is None:
        return Finding("flash-attn", "not installed (optional: attention runs by torch's own kernels)")
    import torch

    fits = torch.version.cuda is not None
    remedy = "" if fits else "it needs a torch built for CUDA: uninstall one of the two"
    return Finding("flash-attn", metadata.version("flash-attn"), remedy)


def _hub() -> Finding:
    try:
        socket.create_connection(HUB, timeout=PATIENCE).close()
    except OSError:
        return Finding("Hugging Face hub", "not reachable (only data_hub needs it; it takes local files instead)")
    return Finding("Hugging Face hub", "reachable")


def _plugins() -> Iterator[Finding]:
    for name in installed():
        fault = _fault(name)
        yield Finding(name, "broken" if fault else "ok", fault or "")
    for stage in STAGES:
        if not any(stage_of_or_none(name) == stage for name in installed()):
            here = " or ".join(map(str, folders(f"{stage}_*")))
            yield Finding(stage, "no plugin", f"pip install -e {here}" if here else "install one for this stage")


def _writable(subject: str, folder: Path, setting: str) -> Finding:
    existing = next(parent for parent in [folder, *folder.absolute().parents] if os.path.exists(parent))
    usable = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding(
        subject, str(folder), "" if usable else f"{existing} cannot be written to: name another by {setting}"
    )
