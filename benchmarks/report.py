"""A table for people, and a JSON file with everything that the numbers depend on."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sedd_core import __version__, console
from sedd_core.files import write_text

from .pairs import precisions
from .timing import Measurement

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "triton", "flash-attn", "numpy", "datasets")


def print_table(measurements: dict[str, list[Measurement]]) -> None:
    """Print medians and quartiles, a line per quantity.

    Args:
        measurements: Measurements by case.
    """
    rows = [
        (f"{case}  {one.variant}", one.quantity, *(f"{x:.4g}" for x in (one.median, one.lower, one.upper)), one.unit)
        for case, found in measurements.items()
        for one in found
    ]
    console.table("case", "quantity", "median", "lower", "upper", "unit", rows=rows)


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware, versions, date, command and commit of these measurements.

    Args:
        device: Device that was measured.
    """
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "processor": processor(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "precisions": list(precisions(device)),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            "sedd-core": __version__,
            **{name: _version(name) for name in PACKAGES},
            "cuda": torch.version.cuda,
        },
    }


def processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", information.read_text() if information.exists() else "", re.M)
    return names[0] if names else platform.processor()


def write(measurements: dict[str, list[Measurement]], mode: str, device: torch.device, folder: Path) -> Path:
    """Write a results file, named by date and kind of machine. Returns its path.

    Args:
        measurements: Measurements by case.
        mode: "full", "quick", "tiny" or "cuda".
        device: Device that was measured.
        folder: Folder of results.
    """
    about = environment(device)
    kind = about["machine"]["device"] if device.type == "cuda" else f"{about['machine']['cores']} cpu"
    name = re.sub("[^a-z0-9]+", "-", f"{about['date'][:16]} {kind} {mode}".lower())
    results = {case: [asdict(one) for one in found] for case, found in measurements.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_text(path, json.dumps({**about, "mode": mode, "results": results}, indent=1) + "\n")
    return path


def _git(*arguments: str) -> str:
    """Output of git; empty where there is no repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
