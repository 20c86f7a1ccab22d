"""State dicts in shards: each tensor from the file that the index names, and no other file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sedd_core import UserError
from sedd_core.tensors import read_weights

WEIGHTS = {name: torch.full((2, 3), float(number)) for number, name in enumerate("abc")}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
OWNERS: dict[str, Any] = {"a": FIRST, "b": SECOND, "c": FIRST}


def write(folder: Path, content: object) -> Path:
    for shard in (FIRST, SECOND):
        save_file({name: WEIGHTS[name] for name, owner in OWNERS.items() if owner == shard}, folder / shard)
    save_file({"a": torch.ones(1)}, folder.parent / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(content if isinstance(content, str) else json.dumps(content))
    return index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_shards_are_one_state_dict(folder: Path) -> None:
    weights = read_weights(write(folder, {"metadata": {"total_size": 72}, "weight_map": OWNERS}))
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(value, weights[name]) for name, value in WEIGHTS.items())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / FIRST).unlink(), rf"lists {FIRST}, missing beside it"),
        (lambda folder: [(folder / name).unlink() for name in (FIRST, SECOND)], rf"lists {FIRST}, {SECOND}, missing"),
        (
            lambda folder: (folder / SECOND).write_bytes((folder / SECOND).read_bytes()[:-9]),
            rf"{SECOND} cannot be read",
        ),
        (lambda folder: (folder / SECOND).write_bytes(b""), rf"{SECOND} cannot be read"),
        (lambda folder: save_file({"x": torch.ones(1)}, folder / SECOND), rf"lists 'b' in {SECOND}, which does not"),
        (lambda folder: (folder / "model.safetensors.index.json").unlink(), "cannot be read: No such file"),
    ],
)
def test_damaged_shards(folder: Path, damage: Callable[[Path], Any], words: str) -> None:
    index = write(folder, {"weight_map": OWNERS})
    damage(folder)
    with pytest.raises(UserError, match=words):
        read_weights(index)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "pytorch_model.bin", "", 5]
)
def test_an_index_names_safetensors_files_beside_it_alone(folder: Path, name: object) -> None:
    with pytest.raises(UserError, match="not the name of a safetensors file in its folder"):
        read_weights(write(folder, {"weight_map": {"a": name}}))


@pytest.mark.parametrize(
    "content", ["", "[]", "5", "{", {}, {"weight_map": []}, {"weight_map": {"a": [1]}}, "[" * 9999]
)
def test_a_damaged_index(folder: Path, content: object) -> None:
    with pytest.raises(UserError, match="is damaged: it has no 'weight_map'"):
        read_weights(write(folder, content))
