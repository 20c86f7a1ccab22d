"""Pairs: the prompt is given and never noised, the loss is on the response."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.maths import Draws
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Data, DenoisingObjective, NoiseLevel
from sedd_core.testing import check_data
from sedd_core.text import END, Codec, character_codec
from tests.support.runs import ROOT, TINY, run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with sums as pairs and a tokenizer of characters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "cache"))
    write("pairs.jsonl", [(f"{a}+{b}=", str(a + b)) for a in range(20) for b in range(10)])
    codec = character_codec("0123456789+=", unknown=False)
    codec.tokenizer.add_special_tokens([END])
    Codec(codec.tokenizer).tokenizer.save("tokenizer.json")
    return tmp_path


def write(name: str, pairs: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"prompt": prompt, "response": response}) for prompt, response in pairs]
    Path(name).write_text("\n".join(lines) + "\n")


def pairs(**settings: Any) -> Data:
    return plugin("data_pairs")(
        **{"path": "pairs.jsonl", "tokenizer": "tokenizer.json", "length": 9, "valid_pairs": 20, **settings}
    )


def test_the_contract_holds() -> None:
    write("more.jsonl", [("1+1=", "2"), ("2+2=", "4")])
    check_data(partial(pairs, valid_pairs=15), other=pairs(valid_path="more.jsonl"))


def test_the_loss_is_on_the_response_its_end_and_the_padding() -> None:
    data = pairs()
    batch = data.split("train").batch(torch.tensor([13]))
    codec, end = data.codec(), data.end()
    assert codec.decode(batch.tokens[0, :5].tolist()) == "1+3=4"
    assert batch.tokens[0, 5:].tolist() == [end] * 4
    assert batch.loss_mask is not None
    assert batch.loss_mask[0].tolist() == [False] * 4 + [True] * 5
    assert batch.full_text_mask()[0].tolist() == [False] * 4 + [True] * 2 + [False] * 3


def test_the_prompt_is_never_noised() -> None:
    """Not in training at any time: the states that an objective sees have every prompt clean."""
    seen = list[Tensor]()

    class Watching(DenoisingObjective):
        leaves_out = "everything"

        def bound_factor(self, t_min: float) -> float | None:
            return None

        def integrand(self, model: Any, x: Tensor, level: NoiseLevel, batch: Any) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), dtype=torch.float64)

    batch = pairs().split("train").batch(torch.arange(180))
    graph = plugin("graph_absorb")(vocab_size=13)
    network = plugin("model_ddit")(num_states=14, hidden_size=8, n_heads=2, n_blocks=1, cond_dim=4)
    model = ScoreModel(network, graph, plugin("head_mean")())
    Watching().losses(model, plugin("noise_loglinear")(), batch, Draws(0, torch.arange(180)), 1e-3)
    (x,) = seen
    assert batch.loss_mask is not None
    assert torch.equal(x[~batch.loss_mask], batch.tokens[~batch.loss_mask])
    assert (x[batch.loss_mask] == graph.mask).float().mean() > 0.3


def test_long_pairs_are_left_out_or_cut_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    write("long.jsonl", [("1+1=", "2"), ("1" * 9, "1"), ("1+1=", "2" * 9), ("0+1=", "1")])
    sequences = pairs(path="long.jsonl", valid_pairs=1).split("train")
    assert len(sequences) == 2
    assert sequences.batch(torch.tensor([1])).full_loss_mask().sum() == 5
    assert "1 pairs are left out" in capsys.readouterr().out


def test_folders_of_a_data_set_are_read(folder: Path) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "train.jsonl").write_text(Path("pairs.jsonl").read_text())
    one, two = (pairs(path=path).split("valid").batch(torch.arange(20)) for path in ("set", "pairs.jsonl"))
    assert torch.equal(one.tokens, two.tokens)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ('{"prompt": "1"}', {}, "has no texts prompt and response"),
        ('{"prompt": "1", "response": ', {}, "Line 1 of .* is not JSON"),
        ('{"question": "1", "answer": "2"}', {"prompt_field": "question"}, "present: question, answer"),
        ('{"prompt": "1", "response": "2"}', {}, "Lower data.valid_pairs"),
    ],
)
def test_bad_files_are_explained(content: str, settings: dict[str, Any], message: str) -> None:
    Path("bad.jsonl").write_text(content + "\n")
    with pytest.raises(UserError, match=message):
        pairs(path="bad.jsonl", **settings).split("train")


def test_a_run_trains_on_pairs_and_samples_keep_prompts() -> None:
    settings = [one for one in TINY[1:] if not one.startswith("data.")]
    run(
        f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}",
        *("data=pairs", "data.path=pairs.jsonl", "data.tokenizer=tokenizer.json", "data.length=9"),
        *("data.valid_pairs=20", *settings, "training.steps=4", "checkpoints.every=0", "--run_folder=run"),
    )
    sample = next(Path("run/samples").rglob("sample_0.txt")).read_text()
    assert sample.startswith("18+0=")
    assert "prompts" in Path("run/validation.txt").read_text()
