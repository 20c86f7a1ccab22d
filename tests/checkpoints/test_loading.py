"""Loading: what is at a path, tokenizers, and models that do not fit their weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from format_sedd.published import record_of_config
from tokenizers import Tokenizer, models

from sedd_core import UserError, load_model
from sedd_core.checkpoints.length import trained_length
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.files import digest
from sedd_core.record import Node, Record
from sedd_core.text.builtin import character_codec
from sedd_core.text.tokenizer import read_tokenizer
from tests.support.golden_figures import GOLDEN

MODELS = GOLDEN / "models"


@pytest.mark.parametrize("tokens", [51, 2**40])
def test_a_graph_that_does_not_fit_the_network(tmp_path: Path, tokens: int) -> None:
    """The weights have 50 states; memory for 2^40 tokens is not allocated."""
    folder = tmp_path / "run" / "checkpoints" / "step_000000001"
    folder.mkdir(parents=True)
    record = record_of_config(json.loads((MODELS / "uniform" / "config.json").read_text()), Path("config.json"))
    record.node("graph").args["vocab_size"] = tokens
    record.write(folder / "config.json")
    shutil.copy(MODELS / "uniform" / "model.safetensors", folder)
    shutil.copy(MODELS / "uniform" / "model.safetensors", folder / "ema.safetensors")
    character_codec("ab").save(folder / "tokenizer.json")
    files = sorted(folder.iterdir())
    (folder / "sha256").write_text("".join(f"{digest(path)}  {path.name}\n" for path in files))
    with pytest.raises(UserError, match=f"its graph has {tokens} tokens, but its model has 50 states"):
        load_model(folder)


def test_a_pickle_without_its_config(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"contains weights\.pt, but neither a config\.json"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        load_model(tmp_path / "weights.pt")


@pytest.mark.parametrize("path", ["runs/quickstart", "a/b/c", "/a/b", "nothing", "a b/c"])
def test_a_local_path_does_not_go_to_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str) -> None:
    def snapshot_download(name: str, **arguments: Any) -> str:
        raise AssertionError(name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="does not exist"):
        load_model(path)


# Tokenizers for models without one.


def write_tokenizer(folder: Path, size: int) -> Path:
    folder.mkdir()
    Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0")).save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_given_to_a_model_without_one(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "fits", 50)
    for path in (folder, folder / "tokenizer.json"):
        codec = load_checkpoint(MODELS / "uniform", tokenizer=path).codec
        assert codec is not None
        assert codec.encode("w7") == [7]
    with pytest.raises(UserError, match=r"has 49 tokens, but the model .* has 50"):
        load_checkpoint(MODELS / "uniform", tokenizer=write_tokenizer(tmp_path / "less", 49))
    with pytest.raises(UserError, match="contains no tokenizer: neither"):
        load_checkpoint(MODELS / "uniform", tokenizer=tmp_path)


def test_a_second_tokenizer_is_rejected(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "uniform", tmp_path / "model")
    folder = write_tokenizer(tmp_path / "tokenizer", 50)
    shutil.copy(folder / "tokenizer.json", tmp_path / "model")
    assert load_checkpoint(tmp_path / "model").codec is not None
    with pytest.raises(UserError, match="contains its own tokenizer"):
        load_checkpoint(tmp_path / "model", tokenizer=folder)


def test_gpt2s_own_files(shared: Path) -> None:
    codec = read_tokenizer(shared / "data" / "tokenizers" / "gpt2")
    assert codec.vocab_size == 50257
    assert codec.encode("Hello world<|endoftext|>") == [15496, 995, 50256]
    text = "Any text, é日本 too:\n\n  x = 1"
    assert codec.decode(codec.encode(text)) == text


@pytest.mark.parametrize(
    ("arguments", "length"),
    [
        ({"data": Node("plugin", "data_text", {"length": 64})}, 64),
        ({"data": Node("plugin", "data_text")}, 128),  # the default of the class
        ({"length": 32}, 32),
        ({}, None),
    ],
)
def test_the_length_that_a_model_was_trained_on(arguments: dict[str, Any], length: int | None) -> None:
    assert trained_length(Record(run=Node("core", "Train", arguments))) == length
