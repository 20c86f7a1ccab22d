"""Seconds from a command to the import of a run's classes, and to the first logged step of the quickstart's network."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from sedd_core import UserError

from ..timing import Measurement, compared, interleaved

ROOT = Path(__file__).parents[2]
NAIVE = """
import sys, torch
from benchmarks.cases import train_step
sizes = train_step.Sizes(batch=8, length=128, width=144, blocks=3, vocab=1024)
tokens = torch.randint(1024, (64, 128))
train_step.naive_trainer("absorb", "fp32", sizes, tokens, torch.device(sys.argv[1])).step()
"""
RUN = (
    *(f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}", "training.log_every=1"),
    *("data.tokenizer=char", "data.paths=text.txt", "model.n_heads=2"),
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the case."""

    rounds: int = 2
    """Timed rounds, of fresh processes."""


SIZES = {"full": Sizes(), "quick": Sizes(rounds=1), "tiny": Sizes(rounds=1), "cuda": Sizes()}


def measure(sizes: Sizes, device: torch.device) -> list[Measurement]:
    """Seconds of the import of torch alone and of ours, and of the first step of both implementations.

    Args:
        sizes: Sizes of the case.
        device: Device of the first step.
    """
    contenders: dict[str, Callable[[], object]] = {
        "import torch": lambda: _python("-c", "import torch"),
        "import sedd_core.runs": lambda: _python("-c", "import sedd_core.runs"),
        "first naive step": lambda: _python("-c", NAIVE, str(device)),
        "first step of a run": _first_step,
    }
    seconds = interleaved(contenders, sizes.rounds, torch.device("cpu"))
    return compared("fresh process", seconds, {"first naive step": "first step of a run"})


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def _first_step() -> None:
    """Start a run, and end it at the line of its first step."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text.txt").write_text("the cat sat on the mat, and the dog ate the hat.\n" * 200)
        command = [sys.executable, "-u", "-m", "sedd_core", "launch", *RUN]
        environment = {**os.environ, "SEDD_CACHE": str(Path(folder, "cache"))}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True) as run:
            assert run.stdout is not None
            seen = any(line.startswith("step") for line in run.stdout)
            run.kill()
            if not seen:
                message = run.stderr.read() if run.stderr else ""
                raise UserError(f"The run of the case startup ended before its first step:\n{message}")
