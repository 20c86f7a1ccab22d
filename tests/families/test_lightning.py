"""Files of PyTorch Lightning as published: objects of other libraries in them are neither imported nor executed."""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from sedd_core import UserError
from sedd_core.families import averaged, read_lightning
from sedd_core.text.builtin import character_codec
from tests.support.families import save_lightning

WEIGHTS = {"backbone.a": torch.ones(2), "backbone.rotary_emb.inv_freq": torch.ones(1), "other": torch.ones(3)}
CONFIG = {"backbone": "dit", "model": {"length": 4, "n_heads": 2}, "time_conditioning": False, "T": 0}


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_weights_averages_and_config(tmp_path: Path) -> None:
    file = save_lightning(tmp_path / "a.ckpt", WEIGHTS, [torch.zeros(2)], CONFIG)
    content = read_lightning(file)
    assert content.config == {**CONFIG, "length": 4, "n_heads": 2}
    chosen = content.chosen("backbone.", True, file), content.chosen("backbone.", False, file)
    assert [sorted(one) for one in chosen] == [["a", "rotary_emb.inv_freq"]] * 2
    assert [one["a"].sum().item() for one in chosen] == [0.0, 2.0]
    assert not [name for name in sys.modules if name.startswith("omegaconf")]


def test_a_tokenizer_and_containers_beside_the_config(tmp_path: Path) -> None:
    """Published files have a pickled tokenizer; the real class of `tokenizers` is not made from it."""
    counts: defaultdict[str, int] = defaultdict(int, {"a": 3})
    more = {"callbacks": {"tokenizer": character_codec("abc").tokenizer, "path": tmp_path, "counts": counts}}
    file = save_lightning(tmp_path / "a.ckpt", WEIGHTS, [torch.zeros(2)], CONFIG, **more)
    assert read_lightning(file).config["T"] == 0


def test_a_call_of_a_library_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in a library whose names are allowed, a function is replaced."""
    ran: list[int] = []

    def harm(number: int) -> None:
        ran.append(number)

    harm.__module__, harm.__qualname__ = "pytorch_lightning.harm", "harm"
    for name in ("pytorch_lightning", "pytorch_lightning.harm"):
        module = ModuleType(name)
        module.harm = harm  # pyright: ignore
        monkeypatch.setitem(sys.modules, name, module)
    file = save_lightning(tmp_path / "a.ckpt", WEIGHTS, [torch.zeros(2)], CONFIG, loops=Calls(harm, 1))
    read_lightning(file)
    assert ran == []


@pytest.mark.parametrize(("function", "name"), [(os.mkdir, "mkdir"), (shutil.rmtree, "shutil.rmtree"), (exec, "exec")])
def test_a_call_of_anything_else_is_refused(tmp_path: Path, function: Any, name: str) -> None:
    (kept := tmp_path / "kept").mkdir()
    more = {"loops": Calls(function, str(tmp_path / "ran") if name == "mkdir" else str(kept))}
    file = save_lightning(tmp_path / "a.ckpt", WEIGHTS, [torch.zeros(2)], CONFIG, **more)
    with pytest.raises(UserError, match=rf"a\.ckpt contains more than data .*{name}.* and was not executed"):
        read_lightning(file)
    assert kept.is_dir()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "not a checkpoint of PyTorch Lightning"),
        ({"model": WEIGHTS}, "not a checkpoint of PyTorch Lightning"),
        ({"state_dict": {"a": 3}}, "not a checkpoint of PyTorch Lightning"),
        ({"state_dict": WEIGHTS, "ema": {"shadow_params": 3}}, r"ema\.shadow_params are a int, not a list"),
    ],
)
def test_what_is_not_of_lightning(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=words):
        read_lightning(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("averages", "words"),
    [
        ([], "0 tensors for 1 parameters"),
        ([torch.zeros(3)], r"a has shape \[2\], its average \[3\]"),
        ([torch.zeros(2), torch.zeros(2)], "2 tensors for 1 parameters"),
        (["a"], "not dense CPU tensors"),
    ],
)
def test_averages_that_do_not_fit(averages: list[Any], words: str) -> None:
    weights = {"a": torch.ones(2), "rotary_emb.inv_freq": torch.ones(1)}
    with pytest.raises(UserError, match=words):
        averaged(weights, averages, Path("a.ckpt"))
    assert averaged(weights, [torch.zeros(2), torch.tensor(1.0)], Path("a.ckpt"))["a"].sum() == 0
