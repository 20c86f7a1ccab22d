"""GIDD's layout as files: the hub, the command line, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sedd_core import UserError, load_model, plugin
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.cli.main import main
from sedd_core.testing import check_format
from sedd_core.text.builtin import character_codec
from tests.support.families import stand_in_hub
from tests.support.golden_figures import GOLDEN
from tests.support.runs import ROOT

TINY = Path(__file__).parent / "golden" / "tiny"
REPOSITORY = (
    *(".gitattributes", "README.md", "config.json", "configuration_dit.py", "model.safetensors", "modeling_dit.py"),
    *("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
)
"""Files of dvruette/gidd-small-p_unif-0.2."""


def changed(folder: Path, masks: tuple[str, ...] = ("[MASK]",), **config: Any) -> Path:
    """A model with another config, and with its tokenizer: two letters, the unknown token, and further tokens."""
    shutil.copytree(TINY, folder)
    content = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(content))
    codec = character_codec("ab")
    codec.tokenizer.add_special_tokens(list(masks))
    codec.save(folder / "tokenizer.json")
    return folder


def test_conformance(tmp_path: Path) -> None:
    without = shutil.copytree(TINY, tmp_path / "without")
    weights = load_file(TINY / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("rotary_emb.")}
    save_file(kept, without / "model.safetensors")
    form = plugin("format_gidd")()
    check_format(form, [without, changed(tmp_path / "model", p_uniform=0.1)], [GOLDEN / "models" / "uniform"])
    (without / "config.json").unlink()
    assert not form.matches(without)
    for name, value in form.weights(TINY, True).items():
        assert torch.equal(value, form.weights(tmp_path / "model", True)[name])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
def test_the_process_of_each_published_share(tmp_path: Path, share: float) -> None:
    model, graph, noise = load_model(changed(tmp_path / "model", p_uniform=share))
    assert (graph.mask, model.backbone.reads) == (3, "time")
    assert graph.b == noise.b == 2 * share / (1 - share)  # pyright: ignore
    uniform = graph.transition(torch.tensor([0]), noise(torch.tensor(0.5)))[0, 1:3]  # two of three tokens
    torch.testing.assert_close(uniform.sum().item(), share * 2 / 3)


@pytest.mark.parametrize("sampler", ["analytic", "euler", "greedy_tail"])
def test_samples_of_the_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: str) -> None:
    """The repository's own tokenizer has the mask as its last token, and it does not stand in text."""
    name, source = "dvruette/gidd-small-p_unif-0.2", changed(tmp_path / "source")
    stand_in_hub(monkeypatch, tmp_path, name, REPOSITORY, source)
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", f"--checkpoint={name}"]
    assert main([*launch, f"sampler={sampler}", "steps=4", "count=2", "--prefix=a", "--run_folder=out"]) == 0
    assert [path.read_text()[0] for path in Path("out/samples").iterdir()] == ["a", "a"]
    codec = load_checkpoint(source).codec
    assert codec is not None
    assert codec.difference(character_codec("ab")) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"p_uniform": "some"},
            r"model cannot be read: its config must state p_uniform, a number in \[0, 1\), not 'some'",
        ),
        ({"t_eps": 1e-3}, "states t_eps=0.001; supported: 0.0001"),
        ({"num_hidden_layers": 3}, "disagrees with its tensors: n_blocks is 3, by the tensors 2"),
        ({"masks": ("[X]", "[MASK]")}, r"has the mask \[MASK\] as token 4; supported: the last state, 3"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_model(changed(tmp_path / "model", **change))
