"""Terminal output: no control character reaches the terminal, and files keep the raw text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sedd_core import console
from sedd_core.cli import doctor
from sedd_core.cli.main import main
from sedd_core.sampling.report import report_samples
from sedd_core.stages import Sampler
from sedd_core.text.builtin import byte_codec
from sedd_core.trajectory.style import token_texts

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "experiments" / "quickstart.py"
HOSTILE = "a\x1b[2Jb\x9b31mc\x07d\re\x7ff\u202eg\u2066h\udcffi\x00j"
HARMLESS = "a\ufffd[2Jb\ufffd31mc\ufffdd\ufffde\ufffdf\ufffdg\ufffdh\ufffdi\ufffdj"


def control(text: str) -> list[str]:
    """The characters of an output that would control a terminal."""
    return [c for c in text if c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066\udcff")]


def test_control_characters_are_replaced_and_all_else_stays() -> None:
    assert console.printable(HOSTILE) == HARMLESS
    kept = "tab\tline\né ± 漢字 עברית \u200f :cat: [red] \U0001f600"
    assert console.printable(kept) == kept


def test_every_function_of_the_console_replaces_them(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(HOSTILE)
    console.complain(HOSTILE)
    console.table("name", HOSTILE, rows=[[HOSTILE, "1"]])
    console.rule(HOSTILE)
    list(console.track([1], HOSTILE))
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == HARMLESS
    assert captured.err == HARMLESS + "\n"
    assert captured.out.count(HARMLESS) == 4
    assert not control(captured.out)


def test_text_is_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(":cat: [red]x[/red]")
    console.rule("[red]x")
    assert capsys.readouterr().out.startswith(":cat: [red]x[/red]\n")


def test_samples_are_printed_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    class Nothing(Sampler):
        step = None  # pyright: ignore

    Nothing.__abstractmethods__ = frozenset()
    report_samples([HOSTILE], Nothing())
    out = capsys.readouterr().out
    assert HARMLESS in out
    assert not control(out)


def test_the_trajectory_view_replaces_the_same() -> None:
    codec = byte_codec()
    shown = token_texts(codec, range(256), None)
    assert not control("".join(shown.values()))
    assert shown[27] == console.UNPRINTABLE


@pytest.mark.parametrize("show", [["--dry_run"], ["--print_config"], ["--print_history"], ["--fdl_help"], []])
def test_values_and_messages_are_printed_without_them(
    show: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = HOSTILE.replace("\x00", "")
    code = main(["launch.py", f"--fdl_config={QUICKSTART}", f"data.paths={hostile}", "data.vocab=257", *show])
    captured = capsys.readouterr()
    assert code == (0 if show else 1)
    assert "[2J" in captured.out + captured.err
    assert not control(captured.out + captured.err)


def test_two_experiments_are_compared_without_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    other = tmp_path / "other.py"
    other.write_text(
        "from experiments.quickstart import config as base\n"
        "def config():\n    c = base()\n    c.data.paths = ('\\x1b[2J',)\n    return c\n"
    )
    assert main(["launch.py", f"--fdl_diff={QUICKSTART}", str(other)]) == 0
    assert not control(capsys.readouterr().out)


def test_plugins_are_listed_without_them(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = type("Entry", (), {"distribution": HOSTILE, "version": "1"})()
    monkeypatch.setattr(doctor, "installed", lambda: {"noise_x": [entry]})
    assert doctor.list_plugins(check=False, as_json=False) == 0
    assert capsys.readouterr().out == f"noise_x              {HARMLESS} 1\n"


def test_only_the_console_prints() -> None:
    """Any other call of `print` would send raw text to the terminal."""
    callers = {
        path.name
        for path in [*ROOT.glob("sedd_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert callers == {"console.py"}
