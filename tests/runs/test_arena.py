"""`python -m sedd_core arena`: checkpoints side by side under protocols, paired, and going on after a stop."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sedd_core.cli import arena
from sedd_core.cli.arena import main
from sedd_core.errors import UserError
from sedd_core.evaluation.arena import Cell, differences, latex, markdown
from sedd_core.record import Figure
from sedd_core.record.figures import to_json
from tests.support.runs import TINY, run, write_text


def cell(model: str, nats: list[float], sha256: str = "a" * 64) -> Cell:
    figure = Figure("bound", math.exp(sum(nats) / 6), "perplexity", 0.5, "abc", 3, "duo 1: as published")
    return Cell(
        model=model,
        protocol="duo",
        set="abc",
        figure=figure,
        calls=4,
        precision="fp32",
        sha256=sha256,
        nats=nats,
        tokens=[2, 2, 2],
    )


def test_differences_are_paired_by_sequences() -> None:
    """By hand: 1, 2, 3 nats more on 2 tokens each are 1 nat per token; residuals -1, 0, 1 have a deviation of 1."""
    (one,) = differences([cell("a", [1.0, 5.0, 9.0]), cell("b", [2.0, 7.0, 12.0])])
    assert (one.model, one.minus, one.nats_per_token) == ("b", "a", 1.0)
    assert one.standard_error == pytest.approx(math.sqrt(3) / 6)
    assert differences([cell("a", [1.0, 5.0, 9.0]), cell("b", [2.0, 7.0, 12.0], "b" * 64)]) == []


def test_tables() -> None:
    cells = [cell("run_a", [1.0, 5.0, 9.0]), cell("b", [2.0, 7.0, 12.0])]
    text = markdown(cells)
    assert "| model | duo, abc |" in text
    assert "| run_a | 12.1825 ± 0.5000 perplexity |" in text
    assert "| b | run_a | duo | abc | 1.0000 ± 0.2887 |" in text
    assert "| run_a | duo | abc | 4 | fp32 | aaaaaaaaaaaaaaaa | duo 1: as published |" in text
    assert r"run\_a & 12.1825 $\pm$ 0.5000 perplexity \\" in latex(cells)


def test_what_is_finished_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation that stops leaves no results.json; the next arena makes that one, and no other."""
    made: list[str] = []

    def evaluate(arguments: list[str]) -> int:
        folder = Path(arguments[-1].partition("=")[2])
        assert not folder.exists()
        folder.mkdir(parents=True)
        made.append(arguments[0])
        if made.count(arguments[0]) == 1 and arguments[0] == "two":
            (folder / "log.txt").write_text("interrupted")
            return 130
        own = cell(arguments[0], [1.0, 2.0, 3.0])
        (folder / "results.json").write_text(to_json([own.figure]))
        facts = {"precision": "fp32", "sets": {"abc": {"sha256": own.sha256}}}
        (folder / "evaluation.json").write_text(json.dumps(facts))
        settings = {"run": {"args": {"evaluator": {"args": {"points": 2, "repeats": 3}}}}}
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "nats_abc.json").write_text(json.dumps({"nats": own.nats, "tokens": own.tokens}))
        return 0

    monkeypatch.setattr(arena, "evaluate", evaluate)
    monkeypatch.chdir(tmp_path)
    assert main(["one", "two", "--protocols=duo"]) == 130
    assert main(["one", "two", "--protocols=duo,radd"]) == 0
    assert made == ["one", "two", "two", "one", "two"]
    content = json.loads(Path("arena/arena.json").read_text())
    assert [(one["model"], one["protocol"], one["calls"]) for one in content["cells"]] == [
        ("one", "duo", 6),
        ("two", "duo", 6),
        ("one", "radd", 6),
        ("two", "radd", 6),
    ]
    Path("arena/duo/one/nats_abc.json").write_text("[")
    with pytest.raises(UserError, match="does not contain a complete evaluation"):
        main(["one", "two", "--protocols=duo"])


@pytest.mark.slow
def test_an_arena_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is finished is kept, what was interrupted is made anew; other settings are refused."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    for name in ("one", "two"):
        run(
            *TINY,
            "training.steps=1",
            "training.eval_every=0",
            "samples.count=0",
            f"seed={len(name) + (name == 'two')}",
            f"--run_folder={name}",
        )
    settings = ["evaluator.sequences=4", "evaluator.repeats=2"]
    assert main(["one", "--protocols=duo", *settings]) == 0
    first = (tmp_path / "arena" / "duo" / "one" / "results.json").stat().st_mtime_ns
    (tmp_path / "arena" / "duo" / "two").mkdir()
    (tmp_path / "arena" / "duo" / "two" / "log.txt").write_text("interrupted")
    assert main(["one", "two", "--protocols=duo", *settings]) == 0
    assert (tmp_path / "arena" / "duo" / "one" / "results.json").stat().st_mtime_ns == first
    content = json.loads((tmp_path / "arena" / "arena.json").read_text())
    assert [one["model"] for one in content["cells"]] == ["one", "two"]
    assert [one["calls"] for one in content["cells"]] == [2, 2]
    (paired,) = content["differences"]
    assert (paired["model"], paired["minus"]) == ("two", "one")
    assert paired["standard_error"] > 0
    capsys.readouterr()
    with pytest.raises(UserError, match="is an arena with other settings"):
        main(["one", "--protocols=duo", "evaluator.sequences=5"])


def test_a_wrong_command_is_one_message() -> None:
    with pytest.raises(UserError, match="arena takes different checkpoints"):
        main(["one", "one", "--protocols=duo"])
    with pytest.raises(UserError, match="does not exist"):
        main(["one", "--protocols=dou"])
