"""Dependencies run one way (docs/architecture.md): read from the imports of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if folder.is_dir())


def imports(source: str) -> Iterator[str]:
    """Every absolute module that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def fault(path: Path, source: str) -> str | None:
    """What a file at this path of the repository may not import, and does."""
    parts = path.parts
    if parts[0] == "sedd_core":
        forbidden = {*PLUGINS, "experiments", *([] if parts[1] == "cli" else ["fiddle", "absl"])}
    elif parts[0] == "plugins":
        forbidden = {"fiddle", "absl", "experiments", *(name for name in PLUGINS if name != parts[1])}
    elif parts[0] == "experiments":
        forbidden = {*PLUGINS, "absl"}
    else:
        forbidden = set()
    names = set(imports(source))
    if parts[0] == "plugins" and any(name.startswith("sedd_core.cli") for name in names):
        return "sedd_core.cli"
    return next((name for name in sorted(names) if name.partition(".")[0] in forbidden), None)


def files() -> list[Path]:
    found = [
        *(ROOT / "sedd_core").rglob("*.py"),
        *(ROOT / "plugins").rglob("*.py"),
        *(ROOT / "experiments").glob("*.py"),
    ]
    return [path.relative_to(ROOT) for path in found]


def test_every_room_keeps_to_itself() -> None:
    faults = {str(path): fault(path, (ROOT / path).read_text()) for path in files()}
    assert len(faults) > 40
    assert not {path: found for path, found in faults.items() if found}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sedd_core/training/trainer.py", "import fiddle as fdl"),
        ("sedd_core/training/trainer.py", "def f():\n    from absl import flags"),
        ("sedd_core/stages/graph.py", "from graph_absorb import Absorb"),
        ("sedd_core/cli/main.py", "import experiments.quickstart"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from graph_uniform import Uniform"),
        ("plugins/graph_absorb/src/graph_absorb.py", "import fiddle"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from sedd_core.cli import stage"),
        ("experiments/quickstart.py", "import model_ddit"),
    ],
)
def test_a_planted_import_is_found(path: str, source: str) -> None:
    assert fault(Path(path), source)


def test_no_stage_holds_fiddle_at_run_time() -> None:
    """Importing the contracts and the runs does not import Fiddle or absl, nor what only some runs need."""
    code = (
        "import sys, sedd_core.runs.train, sedd_core.runs.sample, sedd_core.checkpoints, sedd_core.testing; "
        "print([m for m in ('fiddle', 'absl', 'transformers', 'datasets', 'tensorboard', 'beartype') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["launch.py", "--help"], ["-m", "sedd_core", "plugins"]])
def test_looking_around_imports_nothing_heavy(command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "sedd_core" in imported
    assert not {"torch", "transformers", "datasets", "tensorboard", "fiddle"} & imported
