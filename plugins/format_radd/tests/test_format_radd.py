"""RADD's layout as files: the hub, the command line, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sedd_core import UserError, load_model, plugin
from sedd_core.cli.main import main
from sedd_core.testing import check_format
from sedd_core.text.builtin import character_codec
from tests.support.families import stand_in_hub
from tests.support.golden_figures import GOLDEN
from tests.support.runs import ROOT

TINY = Path(__file__).parent / "golden" / "tiny"
REPOSITORY = (".gitattributes", "README.md", "config.json", "model.safetensors")
"""Files of JingyangOu/radd-t-dce."""


def test_conformance(tmp_path: Path) -> None:
    other = shutil.copytree(TINY, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "mdlm", "vocab_size": 5}))
    without = shutil.copytree(TINY, tmp_path / "without")
    (without / "config.json").unlink()
    form = plugin("format_radd")()
    check_format(form, [TINY], [other, GOLDEN / "models" / "absorb_scaled"])
    assert form.matches(without)
    assert form.weights(without, True).keys() == form.weights(TINY, True).keys()


def test_the_network_stays_without_time_in_training() -> None:
    """Zero weights of the modulations get no gradient, since the embedding of the noise level is zero."""
    model, _, noise = load_model(TINY)
    x = torch.tensor([[4, 1, 4, 2]])
    loss = model(x, noise(torch.tensor([0.5]))).sum()
    loss.backward()
    gradients = {name: value.grad for name, value in model.backbone.named_parameters() if value.grad is not None}
    assert not [name for name, grad in gradients.items() if "adaLN_modulation.weight" in name and grad.any()]
    assert gradients["blocks.0.adaLN_modulation.bias"].any()


@pytest.mark.parametrize("sampler", ["analytic", "euler", "greedy_tail"])
def test_samples_of_the_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: str) -> None:
    stand_in_hub(monkeypatch, tmp_path, "JingyangOu/radd-t-dce", REPOSITORY, TINY)
    character_codec("abc").save(tmp_path / "letters.json")
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=JingyangOu/radd-t-dce"]
    settings = ["tokenizer=letters.json", f"sampler={sampler}", "steps=4", "count=2", "--prefix=a", "--run_folder=out"]
    assert main([*launch, *settings]) == 0
    assert [path.read_text()[0] for path in Path("out/samples").iterdir()] == ["a", "a"]


def test_what_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tokens": 9}))
    with pytest.raises(UserError, match="num_states is 10, by the tensors 5"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    del weights["blocks.1.norm1.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"do not fit the model|not those of a RADD model"):
        load_model(folder)
