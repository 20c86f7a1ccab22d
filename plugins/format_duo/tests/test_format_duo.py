"""Duo's and UDLM's layouts as files: the hub, PyTorch Lightning, the command line, classes, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sedd_core import UserError, load_model, plugin
from sedd_core.cli.main import main
from sedd_core.testing import check_format
from sedd_core.text.builtin import character_codec
from tests.support.families import in_module_order, save_lightning, stand_in_hub
from tests.support.runs import ROOT

TINY = Path(__file__).parent / "golden" / "tiny"
REPOSITORY = (".gitattributes", "README.md", "config.json", "config.py", "model.py", "model.safetensors")
"""Files of s-sahoo/duo."""
UDLM = (".gitattributes", "README.md", "config.json", "configuration_udlm.py", "model.safetensors", "modeling_udlm.py")
"""Files of kuleshov-group/udlm-qm9."""
CONFIG = {
    "algo": {"name": "duo_base", "backbone": "dit", "parameterization": "mean", "time_conditioning": True},
    "noise": {"type": "log-linear", "eps": 1e-3},
    "model": {"hidden_size": 32, "cond_dim": 16, "length": 4, "n_blocks": 2, "n_heads": 2, "dropout": 0.1},
}
"""Config of a run of Duo's code, as far as it describes the model."""


def lightning(file: Path, **config: Any) -> Path:
    """A file of Lightning whose averages are the golden network, and whose last weights differ."""
    weights = in_module_order(TINY)
    averages = [value for name, value in weights.items() if "inv_freq" not in name]
    last = {name: value if "inv_freq" in name else value + 1 for name, value in weights.items()}
    return save_lightning(file, last, averages, CONFIG | config)


def with_classes(folder: Path, classes: int = 3) -> Path:
    """UDLM with classes: the golden network with a table of embeddings."""
    folder.mkdir()
    table = torch.randn(classes + 1, 16, generator=torch.Generator().manual_seed(0))
    weights = load_file(TINY / "model.safetensors") | {"backbone.cond_map.embedding_table.weight": table}
    save_file(weights, folder / "model.safetensors")
    config = json.loads((TINY / "config.json").read_text())
    names = {"model_type": "udlm", "architectures": ["UDLM"], "auto_map": {}, "_name_or_path": ""}
    (folder / "config.json").write_text(json.dumps(config | names | {"cfg": True, "cfg_num_classes": classes}))
    return folder


def test_conformance(tmp_path: Path) -> None:
    masked = shutil.copytree(TINY, tmp_path / "mdlm")
    (masked / "config.json").write_text(json.dumps({"model_type": "mdlm", "vocab_size": 3}))
    form, others = plugin("format_duo")(), [masked, lightning(tmp_path / "mdlm.ckpt", algo={"name": "mdlm"})]
    check_format(form, [with_classes(tmp_path / "classes"), lightning(tmp_path / "duo.ckpt")], others)
    assert form.matches(lightning(tmp_path / "udlm.ckpt", algo=None, parameterization="d3pm", diffusion="uniform"))


def test_a_file_of_lightning_has_averages(tmp_path: Path) -> None:
    file, golden = lightning(tmp_path / "duo.ckpt"), load_model(TINY)[0].backbone.head.weight
    assert torch.equal(load_model(file)[0].backbone.head.weight, golden)
    assert torch.equal(load_model(file, ema=False)[0].backbone.head.weight, golden + 1)


@pytest.mark.parametrize("sampler", ["ancestral", "euler", "greedy_tail"])
def test_samples_of_the_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: str) -> None:
    """With a tokenizer that lacks [PAD], as gpt2's does."""
    stand_in_hub(monkeypatch, tmp_path, "s-sahoo/duo", REPOSITORY, TINY)
    character_codec("a").save(tmp_path / "letters.json")
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=s-sahoo/duo"]
    settings = ["tokenizer=letters.json", f"sampler={sampler}", "steps=4", "count=2", "--prefix=a", "--run_folder=out"]
    assert main([*launch, *settings]) == 0
    assert [path.read_text()[0] for path in Path("out/samples").iterdir()] == ["a", "a"]


def test_classes_are_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = with_classes(tmp_path / "udlm")
    model, graph, noise = load_model(folder)
    x, level = torch.zeros(1, 4, dtype=torch.int64), noise(torch.tensor([0.5]))
    with torch.no_grad():
        scores = [
            model(x, level, cond=cond) for cond in (torch.tensor([0]), torch.tensor([1]), torch.tensor([3]), None)
        ]
    assert torch.equal(scores[2], scores[3])
    assert not torch.allclose(scores[0], scores[1])
    assert graph.mask is None
    stand_in_hub(monkeypatch, tmp_path, "kuleshov-group/udlm-qm9", UDLM, folder)
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "format=ids"]
    launch += ["--checkpoint=kuleshov-group/udlm-qm9"]
    assert main([*launch, "cond=2", "steps=2", "count=1", "--run_folder=out"]) == 0
    assert main([*launch, "cond=7", "steps=2", "count=1", "--run_folder=more"]) == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"noise": {"type": "cosine"}},
            r"duo\.ckpt cannot be read: its noise schedule is 'cosine'; supported: log-linear",
        ),
        ({"model": CONFIG["model"] | {"n_heads": 4}}, "disagrees with its tensors: n_heads is 4, by the tensors 2"),
    ],
)
def test_variants_that_are_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_model(lightning(tmp_path / "duo.ckpt", **config))
