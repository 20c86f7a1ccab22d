"""Mutated files: a result or one message, whatever a disk, a network or a stranger made of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.runs import ROOT

pytestmark = pytest.mark.slow


def test_mutated_files_are_a_result_or_one_message(seed: int) -> None:
    """The full run: scripts/fuzz_files.py --seed=0 --count=2000."""
    command = [sys.executable, ROOT / "scripts" / "fuzz_files.py", f"--seed={seed}", "--count=300"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
