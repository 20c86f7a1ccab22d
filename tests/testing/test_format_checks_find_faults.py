"""Conformance checks on formats with planted faults: each fault is detected."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sedd_core import plugin
from sedd_core.record import Record
from sedd_core.stages import Format
from sedd_core.testing import check_format
from tests.support.golden_figures import GOLDEN

SEDD = plugin("format_sedd")
MODEL = GOLDEN / "models" / "uniform"


class Greedy(SEDD):
    """Every folder matches."""

    def matches(self, path: Path) -> bool:
        return path.is_dir()


class Shy(SEDD):
    """Nothing matches."""

    def matches(self, path: Path) -> bool:
        return False


class Reader(SEDD):
    """The weights are read to decide."""

    def matches(self, path: Path) -> bool:
        return super().matches(path) and len(self.weights(path, True)) > 0


class Scribe(SEDD):
    """A file is left behind."""

    def record(self, path: Path) -> Record:
        (path / "cache").touch()
        return super().record(path)


class Shallow(SEDD):
    """The record has one block fewer."""

    def record(self, path: Path) -> Record:
        record = super().record(path)
        record.node("model").args["n_blocks"] -= 1
        return record


class Renamed(SEDD):
    """A weight has another name."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        return {name.replace("vocab_embed", "embed"): value for name, value in super().weights(path, averaged).items()}


class Averages(SEDD):
    """Only averages are read."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        weights = super().weights(path, averaged)
        return weights if averaged else {}


class Integers(SEDD):
    """The weights are integers."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        return {name: value.long() for name, value in super().weights(path, averaged).items()}


class Sparse(SEDD):
    """The weights are sparse."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        return {name: value.to_sparse() for name, value in super().weights(path, averaged).items()}


class Trusting(SEDD):
    """Pickles are executed before they are read."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        with suppress(Exception):
            torch.load(path / "pytorch_model.bin", weights_only=False)
        return super().weights(path, averaged)


class Blunt(SEDD):
    """Damage raises what the library raises."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        return load_file(path / "model.safetensors") if averaged else super().weights(path, averaged)


class Lenient(SEDD):
    """Weights that cannot be read are zeros."""

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        try:
            return super().weights(path, averaged)
        except Exception:
            return {name: torch.zeros_like(value) for name, value in super().weights(MODEL, averaged).items()}


class Rounding(SEDD):
    """Weights are written in bfloat16."""

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        super().write(folder, record, {name: value.bfloat16() for name, value in weights.items()})


class Forgetful(SEDD):
    """The length is not written."""

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        del record.run.args["length"]
        super().write(folder, record, weights)


class Silent(SEDD):
    """Nothing is written."""

    def write(self, folder: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
        save_file({}, folder / "model.safetensors")


class Untitled(SEDD):
    """No title."""

    title = ""


FAULTS: dict[type[Format], str] = {
    Greedy: "matches must be False",
    Shy: "matches must be True",
    Reader: "matches must not fail",
    Scribe: "must not change",
    Shallow: "must load with ema=True",
    Renamed: "must load with ema=True",
    Averages: "must load with ema=False",
    Integers: "torch.int64",
    Sparse: "dense CPU tensors",
    Trusting: "code was executed",
    Blunt: "must be refused by a UserError",
    Lenient: "damaged weights must be refused",
    Rounding: "bit-equal",
    Forgetful: "record of what write wrote",
    Silent: "matches must be True for what write wrote",
    Untitled: "title",
}


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """The model as a pickle."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(MODEL / "config.json", folder)
    torch.save(load_file(MODEL / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_format_is_detected(fault: Callable[[], Format], pickled: Path) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_format(fault(), [pickled if fault is Trusting else MODEL])


def test_a_correct_format_passes(pickled: Path) -> None:
    check_format(SEDD(), [MODEL, pickled])
