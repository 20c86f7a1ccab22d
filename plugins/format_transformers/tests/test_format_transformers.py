"""Models for transformers' AutoModel: the kit, equal log-scores, saving, and what cannot be expressed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from format_transformers import TransformersFormat
from format_transformers.modeling import SEDDModel
from transformers import AutoConfig, AutoModel

from sedd_core import UserError, load_model
from sedd_core.checkpoints.export import export
from sedd_core.record import Node
from sedd_core.testing import check_format
from tests.support.exports import ABSORB, LOGLINEAR, write_run
from tests.support.golden_figures import GOLDEN

UNIFORM, GEOMETRIC = Node("plugin", "graph_uniform", {"vocab_size": 5}), Node("plugin", "noise_geometric")
PUBLISHED = GOLDEN / "models" / "absorb_scaled"


@pytest.fixture(params=[(ABSORB, LOGLINEAR, True), (UNIFORM, GEOMETRIC, False)], ids=["absorb", "uniform"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return write_run(tmp_path / "run", *request.param)


def test_the_kit(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "exported", format="transformers")
    check_format(TransformersFormat(), [tmp_path / "exported"], others=[run, PUBLISHED])


def test_automodel_gives_the_same_log_scores(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "exported", format="transformers")
    model, graph, noise = load_model(run)
    theirs = AutoModel.from_pretrained(tmp_path / "exported")
    assert isinstance(theirs, SEDDModel)
    assert not theirs.training
    x = torch.tensor([[0, 1, graph.num_states - 1, 3], [2, graph.num_states - 1, 4, 0]])
    for t in (0.2, torch.tensor([0.3, 0.9])):
        expected = model(x, noise(torch.as_tensor(t, dtype=torch.float64).expand(2)))
        assert torch.equal(theirs(x, t=t).logits, expected)
    theirs.save_pretrained(tmp_path / "again")
    again = AutoModel.from_pretrained(tmp_path / "again")
    assert torch.equal(again(x, t=0.2).logits, theirs(x, t=0.2).logits)
    assert AutoConfig.from_pretrained(tmp_path / "again").run == theirs.config.run


def test_options_that_change_what_is_loaded_are_refused(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "exported", format="transformers")
    with pytest.raises(UserError, match="takes no dtype: move or convert it after loading"):
        SEDDModel.from_pretrained(tmp_path / "exported", dtype=torch.bfloat16)


def test_a_class_of_a_file_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "exported", format="transformers")
    form = TransformersFormat()
    record, weights = form.record(tmp_path / "exported"), form.weights(tmp_path / "exported", True)
    record.run.args["head"] = Node("file", "Mine", file="mine.py", sha256="0")
    with pytest.raises(UserError, match=r"Mine is a class of the file mine\.py\. Make a plugin of it"):
        form.write(tmp_path, record, weights)


@pytest.mark.parametrize(
    "content", ['{"model_type": "sedd", "run": 3}', '{"model_type": "sedd", "run": {"core": "Train"}}']
)
def test_a_damaged_config(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="is not the config of a model for transformers' AutoModel"):
        TransformersFormat().record(tmp_path)
    assert json.loads(content)
