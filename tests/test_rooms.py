"""Imports run one way (docs/architecture.md): read from the imports of every file, deferred ones too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if folder.is_dir())
ORDER = (
    *("errors", "console", "files", "tensors", "maths", "text", "distributed", "record", "stages", "registry"),
    *(
        "families",
        "data",
        "trajectory",
        "build",
        "model",
        "sampling",
        "checkpoints",
        "evaluation",
        "testing",
        "training",
    ),
    *("runs", "cli"),
)
"""The rooms of sedd_core, from the ground up: none imports one that comes after it."""
PUBLIC = (
    "stages",
    "maths",
    "text",
    "data",
    "evaluation",
    "record",
    "files",
    "tensors",
    "families",
    "sampling",
    "console",
    "testing",
)
"""The rooms whose own names plugins import, besides those of `sedd_core` itself: the public interface."""
FACADE = ("sedd_core", "sedd_core.__main__")
"""What stands above all rooms: the package's own names, and `python -m sedd_core`."""
LONGEST_FILE, LONGEST_FUNCTION = 250, 50


def module_of(path: Path) -> str:
    """The dotted name of a file of the repository."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, source: str, modules: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every module that a file imports, wherever in it; of `from package import name`, the module if it is one."""
    package = list(path.with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in modules or base == "sedd_core" else base


def room_of(module: str) -> str:
    """The room of a module of sedd_core; "" for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def fault(path: Path, source: str) -> str | None:
    """What a file at this path of the repository may not import, and does."""
    parts, names = path.parts, sorted(imports(path, source))
    if parts[0] == "sedd_core":
        forbidden = {*PLUGINS, "experiments", "benchmarks", *([] if parts[1] == "cli" else ["fiddle", "absl"])}
    elif parts[0] == "plugins":
        forbidden = {"fiddle", "absl", "experiments", "benchmarks", *(name for name in PLUGINS if name != parts[1])}
    elif parts[0] == "experiments":
        forbidden = {*PLUGINS, "absl", "benchmarks"}
    elif parts[0] == "benchmarks":
        forbidden = {*PLUGINS, "fiddle", "absl", "experiments"}
    else:
        forbidden = set()
    outside = next((name for name in names if name.partition(".")[0] in forbidden), None)
    if outside or parts[0] not in ("sedd_core", "plugins"):
        return outside
    own = [name for name in names if name.startswith("sedd_core.")]
    if parts[0] == "plugins":
        public = {f"sedd_core.{room}" for room in PUBLIC}
        inner = [name for name in own if room_of(name) in ORDER and name not in public]
        return next(iter(inner), None) if "src" in parts else None
    if module_of(path) in FACADE:
        return None
    reach = ORDER[: ORDER.index(room_of(module_of(path))) + 1]
    return next((name for name in own if room_of(name) not in (*reach, "__version__")), None)


def files() -> list[Path]:
    found = [
        *(ROOT / "sedd_core").rglob("*.py"),
        *(ROOT / "plugins").rglob("*.py"),
        *(ROOT / "experiments").glob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]
    return [path.relative_to(ROOT) for path in found]


def core() -> dict[str, Path]:
    """The files of sedd_core by their module's name."""
    return {module_of(path): path for path in files() if path.parts[0] == "sedd_core"}


def test_every_room_keeps_to_itself() -> None:
    faults = {str(path): fault(path, (ROOT / path).read_text()) for path in files()}
    assert len(faults) > 100
    assert not {path: found for path, found in faults.items() if found}


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = core()
    graph = {
        module: {
            name
            for name in imports(path, (ROOT / path).read_text(), frozenset(modules))
            if name in modules and name != module and path.name != "__init__.py"
        }
        for module, path in modules.items()
        if module not in FACADE
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


ALONE = """
import importlib, os, sys
importlib.import_module(sys.argv[1])
for module in sys.argv[2:]:
    if os.fork() == 0:
        importlib.import_module(module)
        os._exit(0)
    if os.wait()[1] or any(name.startswith("sedd_core") for name in sys.modules):
        sys.exit(f"{module} cannot be imported by itself")
"""
"""Imports each module in a process of its own, a copy of one that has imported what is slow, and nothing of ours."""


def imported_alone(modules: list[str], folder: Path, *, slow: str = "torch") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, slow, *modules]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_room_is_imported_by_itself() -> None:
    """No import works only because another module was imported before."""
    rooms = [f"sedd_core.{room}" for room in ORDER if (ROOT / "sedd_core" / room).is_dir()]
    result = imported_alone(rooms, ROOT)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_import_that_needs_another_before_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("import sys")
    (tmp_path / "second.py").write_text("import sys\nsys.modules['first'].sys")
    result = imported_alone(["first", "second"], tmp_path, slow="os")
    assert "KeyError: 'first'" in result.stderr
    assert "second cannot be imported by itself" in result.stderr


def test_rooms_and_their_order_are_the_same() -> None:
    rooms = {room_of(module) for module in core() if module not in FACADE}
    assert rooms == set(ORDER)


def test_files_and_functions_stay_short() -> None:
    long = {}
    for path in core().values():
        text = (ROOT / path).read_text()
        if text.count("\n") > LONGEST_FILE:
            long[str(path)] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.FunctionDef)
                and (size := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
            ):
                long[f"{path}:{node.name}"] = size
    assert not long


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sedd_core/training/trainer.py", "import fiddle as fdl"),
        ("sedd_core/training/trainer.py", "def f():\n    from absl import flags"),
        ("sedd_core/training/trainer.py", "from ..runs.train import Train"),
        ("sedd_core/record/record.py", "def f():\n    from ..runs import Train"),
        ("sedd_core/maths/draws.py", "from sedd_core.stages import Graph"),
        ("sedd_core/console.py", "from . import files"),
        ("sedd_core/stages/graph.py", "from graph_absorb import Absorb"),
        ("sedd_core/cli/main.py", "import experiments.quickstart"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from graph_uniform import Uniform"),
        ("plugins/graph_absorb/src/graph_absorb.py", "import fiddle"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from sedd_core.cli import stage"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from sedd_core.training import Training"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from sedd_core.stages.graph import Graph"),
        ("experiments/quickstart.py", "import model_ddit"),
        ("sedd_core/training/trainer.py", "import benchmarks.timing"),
        ("plugins/graph_absorb/src/graph_absorb.py", "from benchmarks.naive import NaiveAbsorb"),
        ("benchmarks/pairs.py", "from graph_absorb import Absorb"),
    ],
)
def test_a_planted_import_is_found(path: str, source: str) -> None:
    assert fault(Path(path), source)


def test_no_test_imports_another_test() -> None:
    tests = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")]
    shared = {
        str(path): name
        for path in tests
        for name in imports(path, (ROOT / path).read_text())
        if name.startswith("tests.") and not name.startswith("tests.support")
    }
    assert not shared


def test_no_stage_holds_fiddle_at_run_time() -> None:
    """Importing the contracts and the runs does not import Fiddle or absl, nor what only some runs need."""
    code = (
        "import sys, sedd_core.runs, sedd_core.checkpoints, sedd_core.testing; "
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
