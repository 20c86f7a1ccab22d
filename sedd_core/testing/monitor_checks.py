"""Conformance check for monitors: the calls of a run that is killed and resumed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ..stages import Monitor


def check_monitor(build: Callable[[], Monitor]) -> None:
    """Check that a monitor accepts all that a run tells it, before and after a resume, and writes into its folder only.

    Args:
        build: Makes the monitor; it is called for each start of the run.

    Raises:
        AssertionError: A property does not hold.
    """
    with TemporaryDirectory() as name:
        place, folder = Path(name), Path(name, "run")
        folder.mkdir()
        before = Path.cwd()
        os.chdir(place)
        try:
            monitor = build()
            assert not list(folder.iterdir()), "construction must access no files: open them in start"
            for step in (0, 2):  # the second start resumes after step 2, where the first run was at 3
                monitor.start(folder, step)
                for now in range(step + 1, step + 2 + (step == 0)):
                    monitor.scalars({"train/loss": 1.5 / now, "train/unlucky": math.nan}, now)
                    monitor.text("samples/0", "Line one,\nline two: é", now)
                monitor.flush()
                assert list(folder.rglob("*")), "after scalars, text and flush, the run folder must contain a file"
                if step:
                    monitor.hyperparameters({"seed": 0, "graph": "x", "lr": 1e-3, "ema": True}, {"loss": 0.5})
                    monitor.close()
                else:
                    monitor = build()  # the first was killed: never closed
            stray = [path.name for path in place.iterdir() if path != folder]
            assert not stray, f"a monitor must write into the run folder only, not into {stray[0]}"
        finally:
            os.chdir(before)
