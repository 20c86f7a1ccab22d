"""A new stage is one line in the table and a contract: it is then listed, checked and loaded, with nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE = '    "toy": Stage("sedd_core.stages.toy:Toy", "toy", late=("size",)),\n'
CONTRACT = """
from abc import ABC, abstractmethod

class Toy(ABC):
    @abstractmethod
    def play(self, times: int) -> str: ...
"""
PLUGIN = """
from sedd_core import hookimpl
from sedd_core.stages.toy import Toy

class Ball(Toy):
    def __init__(self, *, size: int = 3, color: str = "red") -> None:
        self.size, self.color = size, color

    def {method}(self, times: int) -> str:
        return "bounce" * times

@hookimpl
def sedd_toy():
    return Ball
"""
USE = """
from functools import partial
from sedd_core import plugin
from sedd_core.build.build import bind, build
from sedd_core.record import Node
late = build(Node("plugin", "toy_ball", {"color": "blue"}))
assert isinstance(late, partial), late
toy, arguments = bind(late, "toy", size=5)
print(toy.play(2), arguments, plugin("toy_ball").__name__)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the core with a line in the table and a contract, and a plugin of the new stage beside it."""
    shutil.copytree(ROOT / "sedd_core", tmp_path / "sedd_core", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "sedd_core" / "registry" / "table.py"
    before, bracket, after = table.read_text().partition("STAGES: dict[str, Stage] = {\n")
    table.write_text(before + bracket + LINE + after)
    (tmp_path / "sedd_core" / "stages" / "toy.py").write_text(CONTRACT)
    (tmp_path / "toy_ball.py").write_text(PLUGIN.format(method="play"))
    metadata = tmp_path / "sedd_toy_ball-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sedd-toy-ball\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[sedd]\ntoy_ball = toy_ball\n")
    return tmp_path


def python(folder: Path, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_a_stage_is_a_line_and_a_contract(copy: Path) -> None:
    listing = python(copy, "-m", "sedd_core", "plugins", "--check")
    assert any(line.startswith("toy_ball ") and line.endswith("ok") for line in listing.splitlines()), listing
    assert python(copy, "-c", USE).strip() == "bouncebounce {'color': 'blue', 'size': 5} Ball"


@pytest.mark.slow
def test_plugins_of_a_new_stage_are_checked_against_its_contract(copy: Path) -> None:
    (copy / "toy_ball.py").write_text(PLUGIN.format(method="roll"))
    assert "Ball lacks the methods play" in python(copy, "-m", "sedd_core", "plugins", "--check", code=1)


@pytest.mark.slow
def test_a_new_stage_without_plugins_is_missed(copy: Path) -> None:
    shutil.rmtree(copy / "sedd_toy_ball-0.1.dist-info")
    assert "toy" in python(copy, "-c", "from sedd_core import plugin; plugin('toy_ball')", code=1)
    assert "toy                no plugin" in python(copy, "-m", "sedd_core", "doctor", code=1)
