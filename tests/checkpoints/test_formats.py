"""Formats of plugins: their order, choice and faults, single files, and what the hub is asked for."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sedd_core import UserError, load_model
from sedd_core.checkpoints import check_exists, find, formats
from sedd_core.checkpoints.export import export
from sedd_core.registry import installed
from tests.support.distributions import Distributions, distributions_in
from tests.support.exports import ABSORB, LOGLINEAR, write_run
from tests.support.golden_figures import GOLDEN
from tests.support.runs import TINY, run, write_text

MODEL = GOLDEN / "models" / "uniform"
SAMPLE = ["--fdl_config=" + str(GOLDEN.parents[1] / "experiments" / "sample.py"), "steps=2", "count=1", "format=ids"]
TOY = """
from sedd_core import hookimpl, plugin
from sedd_core.stages import Format
SEDD = type(plugin("format_sedd")())

class Toy(Format):
    title = "a toy"
    files = ("*.toy", "config.json")

    def matches(self, path):
        return path.suffix == ".toy"

    def record(self, path):
        return SEDD().record(self.folder(path))

    def weights(self, path, averaged):
        return SEDD().weights(self.folder(path), averaged)

    def folder(self, path):
        return path if path.is_dir() else type(path)(path.read_text())

@hookimpl
def sedd_format():
    return Toy
"""
EVERYTHING = TOY.replace('path.suffix == ".toy"', "path.is_dir()").replace('"a toy"', '"everything"')
FAULTS = {
    "import": "import a_module_that_is_not_there",
    "exit": "raise SystemExit",
    "contract": TOY.replace("def record", "def recorded"),
    "matches": TOY.replace('path.suffix == ".toy"', "1 / 0"),
    "init": TOY.replace('title = "a toy"', "def __init__(self): raise RuntimeError('broken')"),
}


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    formats._warn.cache_clear()
    (tmp_path / "site").mkdir()
    with distributions_in(tmp_path / "site", monkeypatch) as toys:
        yield toys


def same(path: Path, **options: str) -> bool:
    """Whether the golden model is at a path."""
    ours, theirs = (
        load_model(p, **o)[0].backbone.state_dict() for p, o in ((path, options), (MODEL, {"format": "sedd"}))
    )
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_single_file_is_read_by_its_format(toys: Distributions, tmp_path: Path) -> None:
    toys.add("toys", {"format_toy": TOY})
    (tmp_path / "one.toy").write_text(str(MODEL))
    (tmp_path / "other.tay").write_text(str(MODEL))
    assert same(tmp_path / "one.toy")
    with pytest.raises(UserError, match=r"is a file that no installed .* sedd \(.*\); toy \(a toy\)"):
        load_model(tmp_path / "other.tay")


def test_formats_are_imported_only_where_the_own_layout_does_not_match(
    toys: Distributions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toys.add("explosive", {"format_any": "raise RuntimeError('imported')"})
    own = write_run(tmp_path / "run", ABSORB, LOGLINEAR, True)
    check_exists(own)
    load_model(own)
    load_model(own / "checkpoints" / "step_000000007")
    assert capsys.readouterr().out == ""
    load_model(MODEL)
    assert "imported" in capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_format_is_reported_once_and_passed_over(
    toys: Distributions, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toys.add("broken", {"format_broken": FAULTS[fault]})
    check_exists(MODEL)
    assert same(MODEL)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: The plugin 'format_broken'")
    assert line.endswith("It is passed over.")


def test_two_that_match_are_named_and_one_is_chosen(toys: Distributions) -> None:
    toys.add("greedy", {"format_any": EVERYTHING})
    for call in (load_model, check_exists):
        with pytest.raises(UserError, match=r"matches several formats: any \(everything\) and sedd \(a published"):
            call(MODEL)
    check_exists(MODEL, "any")
    assert same(MODEL, format="any")
    with pytest.raises(UserError, match=r"no plugin 'format_none'.* Installed .* format_any, .*format_sedd"):
        load_model(MODEL, format="none")
    with pytest.raises(UserError, match="does not exist"):
        check_exists(MODEL / "nothing", "any")


@pytest.mark.parametrize("method", ["record", "weights", "tokenizer", "matches"])
def test_a_chosen_format_that_fails_is_named(toys: Distributions, method: str) -> None:
    failing = EVERYTHING.replace(
        "    def folder", f"    def {method}(self, path, *_):\n        {{}}['x']\n\n    def folder"
    )
    if method != "tokenizer":
        arguments = "self, path, averaged" if method == "weights" else "self, path"
        failing = failing.replace(f"def {method}(self, path, *_)", f"def {method}({arguments})")
    else:
        failing = failing.replace("def tokenizer(self, path, *_)", "def tokenizer(self, path)")
    toys.add("failing", {"format_any": failing})
    with pytest.raises(UserError, match=r"format_any cannot read .*uniform \(KeyError: 'x'\): the checkpoint is"):
        load_model(MODEL, format="any")


def test_a_choice_that_is_wrong_is_explained(toys: Distributions, tmp_path: Path) -> None:
    own = write_run(tmp_path / "run", ABSORB, LOGLINEAR, True)
    toys.add("toys", {"format_toy": TOY})
    for path, chosen, found in (
        (own, "sedd", "a checkpoint folder"),
        (own / "checkpoints" / "step_000000007", "sedd", "a checkpoint folder"),
        (MODEL, "format_toy", "a published SEDD model"),
    ):
        for call in (lambda p, f: load_model(p, format=f), check_exists):
            with pytest.raises(UserError, match=rf"is {found}.*, not a .*leave out the choice of a format"):
                call(path, chosen)


def test_a_format_is_chosen_on_the_command_line(
    toys: Distributions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toys.add("greedy", {"format_any": EVERYTHING})
    monkeypatch.chdir(tmp_path)
    run(*SAMPLE, f"--checkpoint={MODEL}", "--run_folder=none", code=1)
    assert "checkpoint_format=NAME" in capsys.readouterr().err
    for number, choice in enumerate(("--checkpoint_format=any", "checkpoint_format=sedd")):
        run(*SAMPLE, f"--checkpoint={MODEL}", choice, f"--run_folder=out{number}")
    write_text(tmp_path)
    run(*TINY, f"init_from={MODEL}", "--run_folder=first", code=1)
    assert "init_format=NAME" in capsys.readouterr().err
    run(*TINY, "init_format=any", "--run_folder=first", code=1)
    assert "init_format is set, but init_from is not" in capsys.readouterr().err
    run(*TINY, f"init_from={MODEL}", "init_format=any", "--run_folder=first", code=1)
    assert "The tokenizer of init_from=" in capsys.readouterr().err  # found and read; its tokens are others


def test_the_hub_is_asked_for_the_files_of_all_formats(
    toys: Distributions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def fetch(name: str, files: tuple[str, ...]) -> Path:
        asked.append(files)
        return MODEL

    toys.add("toys", {"format_toy": TOY})
    monkeypatch.setattr(find, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    load_model("owner/name")
    with pytest.raises(UserError, match="not a toy"):
        load_model("owner/name", format="toy")
    everything = {"config.json", "model.safetensors", "sha256", "pytorch_model.bin", "tokenizer.json", "*.toy"}
    assert everything <= set(asked[0])
    assert len(asked[0]) == len(set(asked[0]))
    assert asked[1] == ("*.toy", "config.json")


@pytest.mark.parametrize("layout", ["published", "original"])
@pytest.mark.parametrize("beside", [True, False])
def test_without_the_default_format_the_message_says_what_to_install(
    layout: str, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = installed.installed()
    monkeypatch.setattr(installed, "installed", lambda: {k: v for k, v in everything.items() if k != "format_sedd"})
    if not beside:
        monkeypatch.setattr(find, "folders", lambda pattern: [])
    if layout == "published":
        shutil.copy(MODEL / "config.json", tmp_path)
        shutil.copy(MODEL / "model.safetensors", tmp_path)
    else:
        (tmp_path / ".hydra").mkdir()
        (tmp_path / ".hydra" / "config.yaml").touch()
    words = r"-e \S*plugins/format_sedd" if beside else "sedd-format-sedd"
    for call in (load_model, check_exists):
        with pytest.raises(
            UserError, match=rf"looks like a SEDD model.*format_sedd is not installed: pip install {words}"
        ):
            call(tmp_path)


def test_a_format_that_is_read_only(toys: Distributions, tmp_path: Path) -> None:
    toys.add("toys", {"format_toy": TOY})
    with pytest.raises(UserError, match=r"^A toy can be read, but not written"):
        export(MODEL, tmp_path / "export", format="toy")
    assert not (tmp_path / "export").exists()
    assert "format_toy" in sys.modules
