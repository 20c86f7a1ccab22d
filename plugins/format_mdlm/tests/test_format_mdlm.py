"""MDLM's layouts as files: the hub, PyTorch Lightning, the command line, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sedd_core import UserError, load_model, plugin
from sedd_core.cli.main import main
from sedd_core.record import Node
from sedd_core.testing import check_format
from sedd_core.text.builtin import character_codec
from tests.support.families import in_module_order, save_lightning, stand_in_hub
from tests.support.runs import ROOT

TINY = Path(__file__).parent / "golden" / "tiny"
REPOSITORY = (
    *(".gitattributes", "README.md", "config.json", "configuration_mdlm.py", "model.safetensors", "modeling_mdlm.py"),
    "pytorch_model.bin",
)
"""Files of kuleshov-group/mdlm-owt."""
CONFIG = {
    "backbone": "dit",
    "diffusion": "absorbing_state",
    "parameterization": "subs",
    "time_conditioning": False,
    "noise": {"type": "loglinear", "sigma_min": 1e-4, "sigma_max": 20},
    "model": {"hidden_size": 32, "cond_dim": 16, "length": 4, "n_blocks": 2, "n_heads": 2, "dropout": 0.1},
}
"""Config of a run of MDLM's code, as far as it describes the model."""


def lightning(file: Path, config: dict[str, Any] | None = None, **more: Any) -> Path:
    """A file of Lightning whose averages are the golden network, and whose last weights differ."""
    weights = in_module_order(TINY)
    averages = [value for name, value in weights.items() if "inv_freq" not in name]
    last = {name: value if "inv_freq" in name else value + 1 for name, value in weights.items()}
    return save_lightning(file, last, averages, CONFIG | (config or {}), **more)


def embedding(path: Path, **arguments: Any) -> Tensor:
    return load_model(path, **arguments)[0].backbone.state_dict()["vocab_embed.embedding"]


def test_conformance(tmp_path: Path) -> None:
    other = shutil.copytree(TINY, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "duo", "vocab_size": 5}))
    examples = [
        TINY,
        lightning(tmp_path / "mdlm.ckpt"),
        lightning(tmp_path / "sedd.ckpt", {"parameterization": "sedd"}),
    ]
    uniform = lightning(tmp_path / "udlm.ckpt", {"diffusion": "uniform"})
    check_format(plugin("format_mdlm")(), examples, [other, uniform, TINY / "config.json"])


def test_a_file_of_lightning_has_averages(tmp_path: Path) -> None:
    file, golden = lightning(tmp_path / "mdlm.ckpt"), embedding(TINY)
    assert torch.equal(embedding(file), golden)
    assert torch.equal(embedding(file, ema=False), golden + 1)


def test_the_sedd_of_mdlms_code(tmp_path: Path) -> None:
    model, graph, _ = load_model(
        lightning(tmp_path / "sedd.ckpt", {"parameterization": "sedd", "time_conditioning": True})
    )
    assert (type(model.head).__name__, model.head.scale_by_sigma, graph.mask) == ("ScoreHead", True, 4)  # pyright: ignore
    assert model.backbone.reads == "sigma"


def test_a_config_without_the_familys_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names of the tensors decide, and their shapes; what was inferred is printed."""
    shutil.copy(TINY / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"time_conditioning": False, "n_heads": 2}))
    assert load_model(tmp_path)[0].backbone.reads == "nothing"
    assert "inferred from the tensors: num_states=5, hidden_size=32, n_blocks=2, cond_dim=16" in capsys.readouterr().out
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"several formats: duo .* and mdlm .*checkpoint_format=NAME"):
        load_model(tmp_path)
    assert load_model(tmp_path, format="mdlm")[0].backbone.reads == "nothing"


@pytest.mark.parametrize("sampler", ["ancestral", "euler", "greedy_tail"])
def test_samples_of_the_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: str) -> None:
    stand_in_hub(monkeypatch, tmp_path, "kuleshov-group/mdlm-owt", REPOSITORY, TINY)
    character_codec("abc").save(tmp_path / "letters.json")
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=kuleshov-group/mdlm-owt"]
    settings = ["tokenizer=letters.json", f"sampler={sampler}", "steps=4", "count=2", "--prefix=a", "--run_folder=out"]
    assert main([*launch, *settings]) == 0
    texts = [path.read_text() for path in Path("out/samples").iterdir()]
    assert [text[0] for text in texts] == ["a", "a"]
    record = json.loads(Path("out/config.json").read_text())
    assert ("sampler_analytic" in json.dumps(record)) == (sampler == "ancestral")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parameterization": "ar"}, "autoregressive baseline"),
        ({"noise": {"type": "cosine"}}, "noise schedule is 'cosine'; supported: loglinear"),
        (
            {"model": CONFIG["model"] | {"hidden_size": 64}},
            "disagrees with its tensors: hidden_size is 64, by the tensors 32",
        ),
    ],
)
def test_variants_that_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_model(lightning(tmp_path / "mdlm.ckpt", change))


def test_a_tokenizer_of_another_vocabulary(tmp_path: Path) -> None:
    from sedd_core.checkpoints.load import load_checkpoint

    character_codec("abcdefg").save(tmp_path / "letters.json")
    with pytest.raises(UserError, match=r"has 8 tokens, but the model .* has 4"):
        load_checkpoint(TINY, tokenizer=tmp_path / "letters.json")


def test_a_model_of_this_project_in_the_hub_layout(tmp_path: Path) -> None:
    """As on the hub: names, keys and the class of the published model; what the layout has no key for is refused."""
    form = plugin("format_mdlm")()
    record, weights = form.record(TINY), form.weights(TINY, True)
    form.write(tmp_path, record, weights)
    config = json.loads((tmp_path / "config.json").read_text())
    published = json.loads((TINY / "config.json").read_text())
    assert {key: config[key] for key in published if key in config and key != "auto_map"} == {
        key: published[key] for key in published if key in config and key != "auto_map"
    }
    assert set(published) - set(config) == {"_name_or_path", "return_dict", "transformers_version"}
    assert config["auto_map"]["AutoModelForMaskedLM"] == "kuleshov-group/mdlm-owt--modeling_mdlm.MDLM"
    assert set(load_file(tmp_path / "model.safetensors")) == set(load_file(TINY / "model.safetensors"))
    for stage, node in (
        ("head", Node("plugin", "head_score", {"scale_by_sigma": True})),
        ("noise", Node("plugin", "noise_geometric")),
        ("model", Node("plugin", "model_ddit", record.node("model").args | {"reads": "time"})),
    ):
        other = form.record(TINY)
        other.run.args[stage] = node
        with pytest.raises(UserError, match=f"The hub layout of MDLM does not support .*{stage}"):
            form.write(tmp_path / "other", other, weights)
