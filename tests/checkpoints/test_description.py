"""`inspect`, what is said of a checkpoint of another origin, and export to the own layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sedd_core import UserError, load_model
from sedd_core.__main__ import main
from sedd_core.build.build import build_part
from sedd_core.checkpoints import description, find, find_checkpoint, load_checkpoint
from sedd_core.checkpoints.description import describe
from sedd_core.checkpoints.export import export
from sedd_core.testing import check_format
from tests.support.exports import ABSORB, LOGLINEAR, write_run
from tests.support.golden_figures import GOLDEN

PUBLISHED = GOLDEN / "models" / "absorb_scaled"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ABSORB, LOGLINEAR, True)


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sedd", "inspect", str(PUBLISHED)])
    with pytest.raises(SystemExit, match="0"):
        main()
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["checkpoint"] == str(PUBLISHED)
    assert rows["layout"].startswith("a published SEDD model")
    assert rows["graph"].startswith("graph_absorb(vocab_size=")
    assert rows["head"] == "head_score(scale_by_sigma=True)"
    assert "reads='sigma'" in rows["model"]  # a default, which decides what the network is given
    assert rows["tokenizer"] == "none in the checkpoint: name one by tokenizer=..."


def test_no_weights_are_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_checkpoint(run)
    monkeypatch.setattr(type(found.format), "weights", None)
    rows = describe(found)
    count = sum(parameter.numel() for parameter in build_part(found.record(), "model").parameters())
    assert rows["parameters"].startswith(f"{count:,} (")
    assert rows["states"] == "6: 5 tokens and a mask"
    assert rows["sequence length"] == "4 tokens"
    assert rows["tokenizer"] == "tokenizer.json"


def test_what_a_foreign_checkpoint_is_recognized_as_is_said_once(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    description._say.cache_clear()
    load_model(PUBLISHED)
    load_model(PUBLISHED)
    load_model(run)
    (line,) = capsys.readouterr().out.splitlines()
    for words in (str(PUBLISHED), "a published SEDD model", "graph_absorb(", "noise_loglinear", "head_score("):
        assert words in line


def test_a_published_model_becomes_a_checkpoint_of_the_own_layout(run: Path, tmp_path: Path) -> None:
    tokenizer = run / "checkpoints" / "step_000000007" / "tokenizer.json"
    published, own = tmp_path / "published", tmp_path / "own"
    export(run, published)
    (published / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"contains a tokenizer, and .*published has none: name one"):
        export(published, own, format="own")
    assert not own.exists()
    export(published, own, format="own", tokenizer=str(tokenizer))
    ours, theirs = load_checkpoint(own), load_checkpoint(run)
    assert find_checkpoint(own).format is find.OWN
    for name, value in theirs.model.backbone.state_dict().items():
        assert torch.equal(ours.model.backbone.state_dict()[name], value), name
    assert ours.codec is not None
    assert theirs.codec is not None
    assert ours.codec.difference(theirs.codec) is None
    assert "python" not in (own / "config.json").read_text()  # of the model alone, without the command of its run


def test_the_own_layout_passes_the_kit(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "own", format="own")
    check_format(find.OWN, [tmp_path / "own"], others=[PUBLISHED])


def test_a_checkpoint_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["sedd", "inspect", str(tmp_path / "nothing")])
        with pytest.raises(SystemExit, match="1"):
            main()
    assert "does not exist" in capsys.readouterr().err
