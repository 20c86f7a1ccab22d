"""`python -m sedd_core doctor` and `plugins`: diagnosis of this machine and of the installed plugins."""

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
"""Host and port of the Hugging Face hub."""
HUB_TIMEOUT = 3.0
"""Seconds to wait for a connection to the hub."""


class Finding(NamedTuple):
    """One line of the diagnosis."""

    subject: str
    """Component that was examined."""
    state: str
    """Version or state of the component."""
    remedy: str = ""
    """Fix of a problem; "" where there is no problem."""


SAMPLER = ("order", "calls", "graphs", "marginal")
"""Class attributes by which samplers are described."""


def findings() -> Iterator[Finding]:
    """Examine every component, in the order of the output."""
    outdated = sys.version_info < (3, 11)
    yield Finding("python", platform.python_version(), "install Python 3.11 or newer" if outdated else "")
    yield from torch_findings()
    yield _flash_attention()
    yield hub_finding()
    yield from plugin_findings()
    yield _writable("run folder", Path("runs"), "--run_folder=...")
    yield _writable("token cache", cache_folder(), "SEDD_CACHE=...")


def doctor() -> int:
    """Print the findings. Returns the exit code: 1 if there is a problem."""
    problems = 0
    for finding in findings():
        problems += bool(finding.remedy)
        mark = "!!" if finding.remedy else "ok"
        say(f"{mark} {finding.subject:<18} {finding.state}" + (f": {finding.remedy}" if finding.remedy else ""))
    say(f"{problems or 'no'} problem{'s' if problems != 1 else ''} found")
    return int(problems > 0)


def list_plugins(check: bool, as_json: bool) -> int:
    """Print every installed plugin with its distribution.

    Args:
        check: Import each plugin, report those that fail, and describe the samplers.
        as_json: Print JSON: a list of objects with name, distributions and, with `check`, fault; of samplers also
            order, calls, graphs and marginal.

    Returns:
        The exit code: 1 if a plugin fails the check.
    """
    rows: list[dict[str, Any]] = []
    for name, owners in installed().items():
        row: dict[str, Any] = {"name": name, "distributions": [f"{o.distribution} {o.version}" for o in owners]}
        fault = _fault(name) if check else None
        rows.append({**row, **({"fault": fault, **({} if fault else _sampler(name))} if check else {})})
    if as_json:
        say(json.dumps(rows, indent=1))
    else:
        for row in rows:
            fault = row.get("fault")
            status = "" if not check else f"  !! {fault}" if fault else "  ok"
            if "marginal" in row:
                order = "unknown" if row["order"] is None else row["order"]
                status += f": order {order}; calls {row['calls']}; graphs {row['graphs']}; marginal {row['marginal']}"
            say(f"{row['name']:<20} {', '.join(row['distributions'])}{status}")
    return int(any(row.get("fault") for row in rows))


def _fault(name: str) -> str | None:
    """The message of a plugin that cannot be imported; None for a sound one."""
    from ..registry.plugins import plugin

    try:
        plugin(name)
    except UserError as error:
        return str(error)
    return None


def _sampler(name: str) -> dict[str, Any]:
    """What a sampler states of itself; {} for a plugin of another stage."""
    from ..registry.plugins import plugin
    from ..stages import Sampler

    cls = plugin(name)
    return {key: getattr(cls, key) for key in SAMPLER} if issubclass(cls, Sampler) else {}


def torch_findings() -> Iterator[Finding]:
    import torch

    built = torch.version.cuda
    yield Finding("torch", f"{torch.__version__}, built for {f'CUDA {built}' if built else 'the CPU'}")
    if not torch.cuda.is_available():
        broken = built is not None and Path("/proc/driver/nvidia").exists()
        remedy = f"the NVIDIA driver does not support CUDA {built}: update it or install another torch"
        yield Finding("GPUs", "none: runs use the CPU", remedy if broken else "")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding(f"GPU {index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB")
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    yield Finding("NCCL", "available" if nccl else "missing", "" if nccl else "install a torch built with NCCL")


def _flash_attention() -> Finding:
    if importlib.util.find_spec("flash_attn") is None:
        return Finding("flash-attn", "not installed (optional: attention uses PyTorch's kernels)")
    import torch

    remedy = "" if torch.version.cuda else "it needs a torch built for CUDA: uninstall flash-attn or install that torch"
    return Finding("flash-attn", metadata.version("flash-attn"), remedy)


def hub_finding() -> Finding:
    try:
        socket.create_connection(HUB, timeout=HUB_TIMEOUT).close()
    except OSError:
        return Finding("Hugging Face hub", "not reachable (needed by data_hub only, which also reads local files)")
    return Finding("Hugging Face hub", "reachable")


def plugin_findings() -> Iterator[Finding]:
    for name in installed():
        fault = _fault(name)
        yield Finding(name, "broken" if fault else "ok", fault or "")
    for stage in STAGES:
        if not any(stage_of_or_none(name) == stage for name in installed()):
            sources = " or ".join(map(str, folders(f"{stage}_*")))
            yield Finding(stage, "no plugin", f"pip install -e {sources}" if sources else "install one for this stage")


def _writable(subject: str, folder: Path, setting: str) -> Finding:
    existing = next(parent for parent in [folder, *folder.absolute().parents] if os.path.exists(parent))
    usable = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding(subject, str(folder), "" if usable else f"{existing} is not writable: set another with {setting}")
