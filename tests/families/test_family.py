"""What every format of a family refuses, by one of them: each fault is one message, and nothing is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sedd_core import UserError, load_model
from sedd_core.checkpoints.description import describe
from sedd_core.checkpoints.find import find_checkpoint
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.tensors import read_outline
from sedd_core.text.builtin import character_codec
from sedd_core.text.codec import Codec
from tests.support.runs import ROOT

MDLM, DUO = (ROOT / "plugins" / f"format_{name}" / "tests" / "golden" / "tiny" for name in ("mdlm", "duo"))


def sharded(folder: Path) -> Path:
    """The model in two shards with their index."""
    folder.mkdir()
    shutil.copy(MDLM / "config.json", folder)
    weights = load_file(MDLM / "model.safetensors")
    names, owners = list(weights), {}
    for index, part in enumerate((names[:10], names[10:]), 1):
        file = f"model-0000{index}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file)
        owners |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": owners}))
    return folder


def test_shards_are_read(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    assert torch.equal(load_model(folder)[0].backbone.head.weight, load_model(MDLM)[0].backbone.head.weight)
    outline = read_outline(folder / "model.safetensors.index.json")
    assert {name: value.shape for name, value in outline.items()} == {
        name: value.shape for name, value in load_file(MDLM / "model.safetensors").items()
    }


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "00002.safetensors cannot be read"),
        (lambda file: file.unlink(), "lists model-00002-of-00002.safetensors, missing beside it"),
    ],
)
def test_truncated_and_missing_shards(tmp_path: Path, damage: Callable[[Path], Any], words: str) -> None:
    folder = sharded(tmp_path / "model")
    damage(folder / "model-00002-of-00002.safetensors")
    with pytest.raises(UserError, match=words):
        load_model(folder)


def changed(folder: Path, **config: Any) -> Path:
    shutil.copytree(MDLM, folder)
    content = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_dim": 64}, "hidden_size is 64, by the tensors 32"),
        ({"n_blocks": "two"}, "n_blocks is 'two', by the tensors 2"),
        ({"vocab_size": 50258, "n_heads": 4}, "num_states is 50258, by the tensors 5; n_heads is 4, by the tensors 2"),
        ({"model_length": -3}, "training length is -3"),
    ],
)
def test_a_config_that_disagrees_with_the_tensors(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        describe(find_checkpoint(changed(tmp_path / "model", **config)))


def test_an_unknown_family(tmp_path: Path) -> None:
    """The keys that were found are named; with a format that is chosen, what it misses."""
    folder = changed(tmp_path / "model", model_type="other", architectures=["Other"], _name_or_path="", auto_map={})
    with pytest.raises(UserError, match=r"with the keys .*architectures.*which no installed format reads"):
        load_model(folder)
    save_file({"wte.weight": torch.ones(3, 2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"no tensor's name begins with 'backbone\.' \(present: wte\.weight\)"):
        load_model(folder, format="mdlm")
    save_file({"backbone.wte.weight": torch.ones(3, 2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"not those of a model of MDLM's code: vocab_embed\.embedding, .* missing"):
        load_model(folder, format="mdlm")


def test_what_is_said_of_a_checkpoint() -> None:
    rows = describe(find_checkpoint(MDLM))
    assert (rows["layout"], rows["head"]) == ("a model of MDLM's code", "head_mean()")
    assert "reads='nothing'" in rows["model"]
    assert rows["states"] == "5: 4 tokens and a mask"
    assert rows["published figures"].startswith("computed in bfloat16 autocast")


def test_tokens_that_the_authors_code_adds(tmp_path: Path) -> None:
    """A tokenizer of two tokens for Duo's three states gets [PAD]; a mask at the end of a tokenizer is no token."""
    character_codec("a").save(tmp_path / "letters.json")
    codec = load_checkpoint(DUO, tokenizer=tmp_path / "letters.json").codec
    assert codec is not None
    assert (codec.vocab_size, codec.decode([2]), codec.encode("a")) == (3, "[PAD]", [1])
    tokenizer = character_codec("abc").tokenizer
    tokenizer.add_special_tokens(["[MASK]"])
    masked = Codec(tokenizer)
    assert (masked.vocab_size, masked.fitted(4).vocab_size, masked.fitted(3)) == (5, 4, masked)
    assert masked.fitted(4).difference(character_codec("abc")) is None
