"""BD3-LM's layout: the pretraining form is MDLM's network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sedd_core import UserError, load_model, plugin
from sedd_core.checkpoints.find import find_checkpoint
from sedd_core.cli.main import main
from sedd_core.testing import check_format
from sedd_core.text.builtin import character_codec
from tests.support.families import stand_in_hub
from tests.support.runs import ROOT

MDLM = ROOT / "plugins" / "format_mdlm" / "tests" / "golden" / "tiny"
NAME = "kuleshov-group/bd3lm-owt-block_size1024-pretrain"
REPOSITORY = (
    *(".gitattributes", "README.md", "config.json", "configuration_bd3lm.py", "model.safetensors", "modeling_bd3lm.py"),
)
"""Files of the repository of this name."""


def model(folder: Path, **config: Any) -> Path:
    """MDLM's golden network in this layout, with the buffers of the noise range that it has on the hub."""
    folder.mkdir()
    buffers = {"sampling_eps_min": torch.tensor(1e-3), "sampling_eps_max": torch.tensor(1.0)}
    save_file(load_file(MDLM / "model.safetensors") | buffers, folder / "model.safetensors")
    content = json.loads((MDLM / "config.json").read_text())
    names = {"model_type": "bd3lm", "architectures": ["BD3LM"], "auto_map": {}, "_name_or_path": ""}
    own = {"block_size": 4, "cross_attn": False, "adaln": True, "causal": False, "var_min": False}
    (folder / "config.json").write_text(json.dumps(content | names | own | config))
    return folder


def test_conformance(tmp_path: Path) -> None:
    check_format(plugin("format_bd3lm")(), [model(tmp_path / "model")], [MDLM])


def test_the_pretraining_form_is_mdlms_network(tmp_path: Path) -> None:
    found = find_checkpoint(model(tmp_path / "model"))
    assert type(found.format).__name__ == "BD3LMFormat"
    theirs, ours = load_model(MDLM)[0], load_model(found.path)[0]
    x, level = torch.tensor([[4, 1, 4, 2]]), load_model(MDLM)[2](torch.tensor([0.5]))
    with torch.no_grad():
        assert torch.equal(theirs(x, level), ours(x, level))


@pytest.mark.parametrize("config", [{"block_size": 0}, {"block_size": None}])
def test_a_block_size_that_is_none_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"block_size is (0|None): it must be a number of tokens"):
        load_model(model(tmp_path / "model", **config))


def test_samples_of_the_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in_hub(monkeypatch, tmp_path, NAME, REPOSITORY, model(tmp_path / "source"))
    character_codec("abc").save(tmp_path / "letters.json")
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", f"--checkpoint={NAME}"]
    assert main([*launch, "tokenizer=letters.json", "steps=4", "count=2", "--run_folder=out"]) == 0
    assert len(list(Path("out/samples").iterdir())) == 2
