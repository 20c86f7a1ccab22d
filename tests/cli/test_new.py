"""`python -m sedd_core new`: for every stage a package that imports, fails its check with what is missing, and can pass."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from sedd_core import UserError
from sedd_core.cli.check import explanation
from sedd_core.cli.new import class_in, main, write_package
from sedd_core.registry import plugins
from sedd_core.registry.hookspecs import hook_of
from sedd_core.registry.installed import Installed
from sedd_core.registry.table import STAGES, contracts
from sedd_core.testing import check_plugin

ROOT = Path(__file__).parents[2]


def class_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that a package's entry point provides, checked as that of an installed plugin."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert set(project["entry-points"]["sedd"]) == {folder.name}
    monkeypatch.syspath_prepend(str(folder / "src"))
    point = metadata.EntryPoint(folder.name, project["entry-points"]["sedd"][folder.name], "sedd")
    found = Installed(folder.name, project["name"], project["version"], point)
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "find_plugin", lambda name: found)
        return plugins.plugin.__wrapped__(folder.name)


@pytest.mark.parametrize("stage", STAGES)
def test_the_package_of_every_stage_says_what_is_missing(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_package(stage, "new_ring", tmp_path)
    cls = class_of(folder, monkeypatch)
    assert cls.__name__ == "NewRing"
    with pytest.raises((NotImplementedError, AssertionError)) as error:
        check_plugin(cls, examples=[tmp_path])
    text = explanation(error.value, cls, stage)
    assert re.search(r"write this method: see its docstring|the title is missing", text)
    assert f"({folder.name}.py:" in text
    assert "docs/contracts.md" in text
    compile((folder / "tests" / f"test_{folder.name}.py").read_text(), "test", "exec")
    assert all(len(line.rstrip()) <= 120 for file in folder.rglob("*.*") if file.is_file() for line in file.open())
    assert "<<" not in "".join(file.read_text() for file in folder.rglob("*.*") if file.is_file())


def test_a_package_that_is_filled_in_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_package("noise", "linear_rate", tmp_path)
    module = folder / "src" / "noise_linear_rate.py"
    bodies = iter(
        [
            "t = t.double()\n        return NoiseLevel(t, 5 * t, 5 + 0 * t)",
            "return sigma.double() / 5",
        ]
    )
    text = re.sub(r"raise NotImplementedError\(.*\)", lambda _: next(bodies), module.read_text())
    module.write_text(text)
    check_plugin(class_of(folder, monkeypatch))


def test_a_package_is_made_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "contracts.md").read_text()
    source = next(code for code in re.findall(r"```python\n(.*?)```", page, re.S) if "(InterpolatingGraph)" in code)
    (tmp_path / "my_graph.py").write_text(source)
    assert main(["graph", "zipf", "--in", str(tmp_path / "new"), f"--from={tmp_path / 'my_graph.py'}"]) == 0
    folder = tmp_path / "new" / "graph_zipf"
    assert f"pip install -e {folder}" in capsys.readouterr().out
    check_plugin(class_of(folder, monkeypatch))
    written = folder / "src" / "graph_zipf.py"
    again = write_package("graph", "again", tmp_path, written)
    assert (again / "src" / "graph_again.py").read_text().count(hook_of("graph")) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: python -m sedd_core new"),
        (["grap", "ring"], "'grap' is not a stage. Did you mean 'graph'"),
        (["graph", "My-Ring"], "'My-Ring' is not a name for a variant"),
        (["graph", "class"], "'class' is not a name for a variant"),
        (["graph", "ring", "--from=nowhere.py"], "nowhere.py is not a Python file"),
    ],
)
def test_a_mistake_is_one_message(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        main([*words, f"--in={tmp_path}"])
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_package("head", "ring", tmp_path)
    with pytest.raises(UserError, match="head_ring exists"):
        write_package("head", "ring", tmp_path)


def test_a_file_without_the_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(UserError, match="must define one subclass of Graph; it defines none"):
        class_in(tmp_path / "empty.py", contracts()["graph"])
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match="fails to import: ZeroDivisionError"):
        class_in(tmp_path / "broken.py", contracts()["graph"])
