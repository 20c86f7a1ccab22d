"""Conformance checks of formats, on example checkpoints and on damaged and hostile copies of them."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.find import Found
from ..checkpoints.length import trained_length
from ..checkpoints.load import load_found
from ..checkpoints.weights import state_dict_of
from ..errors import UserError
from ..files import digest
from ..stages import Format
from ..tensors import SAVED, is_plain

PICKLES = (*SAVED, ".pkl", ".pickle")
"""Suffixes of files that can contain code."""
WEIGHTS = (*PICKLES, ".safetensors")
"""Suffixes of files of weights."""


def check_format(form: Format, matching: Sequence[Path], others: Sequence[Path] = ()) -> None:
    """Check that a format recognizes, describes and reads checkpoints, and refuses damaged and hostile ones.

    Copies of the examples are damaged file by file: emptied, cut in half and, for pickles, replaced by code.

    Args:
        form: The format.
        matching: Checkpoints in its layout, folders or files; small ones, since each is loaded about 30 times.
        others: Paths that the format must not match, besides missing and empty ones.

    Raises:
        AssertionError: A property does not hold.
    """
    assert isinstance(getattr(form, "title", ""), str), "title must be a str"
    assert getattr(form, "title", ""), "the title is missing"
    names = getattr(form, "files", None)
    assert isinstance(names, tuple), "files must be a tuple of str"
    assert all(isinstance(name, str) for name in names), f"files must be a tuple of str, not {names}"
    with TemporaryDirectory() as folder:
        (empty := Path(folder, "empty.ckpt")).touch()
        for path in (*others, Path(folder), empty, Path(folder, "nothing")):
            assert form.matches(path) is False, f"matches must be False for {path}"
    written = 0
    for path in matching:
        with _copied(path) as copy:
            before = _digests(copy)
            assert form.matches(copy) is True, f"matches must be True for {path}"
            _check_model(form, copy)
            written += _check_written(form, copy)
            assert _digests(copy) == before, f"reading must not change {path}"
        _check_damaged(form, path)
    assert written or type(form).write is Format.write, "write must be able to write one of the examples"


def _check_model(form: Format, path: Path) -> None:
    """Check that the record builds, and that its model takes the weights exactly, averaged or not."""
    assert form.record(path) == form.record(path), "record must be the same each time"
    trained_length(form.record(path))
    for averaged in (True, False):
        weights = form.weights(path, averaged)
        faulty = [name for name, value in weights.items() if not is_plain(value)]
        assert not faulty, f"weights must be dense CPU tensors: {', '.join(faulty)}"
        try:
            loaded = load_found(Found(path, form), ema=averaged)
        except UserError as error:
            raise AssertionError(f"a checkpoint must load with ema={averaged}: {error}") from error
        state = state_dict_of(loaded.model, loaded.noise)
        for name, value in form.weights(path, averaged).items():
            kept = state[name]
            assert value.is_floating_point() == kept.is_floating_point(), f"{name} is {value.dtype}, not {kept.dtype}"
            assert torch.equal(kept, value.to(kept.dtype)), f"{name} of the loaded model differs from weights()"


def _check_written(form: Format, path: Path) -> bool:
    """Check that what is written reads as an equal record and bit-equal weights; False if the layout refuses it."""
    if type(form).write is Format.write:
        return False
    record, weights = form.record(path), form.weights(path, True)
    with TemporaryDirectory() as folder:
        written = Path(folder)
        try:
            form.write(written, record, weights)
        except UserError:  # the layout cannot express the model
            assert not any(written.iterdir()), f"a refused write must write nothing: {path}"
            return False
        assert form.matches(written) is True, "matches must be True for what write wrote"
        assert form.record(written) == record, "the record of what write wrote must be equal"
        assert _equal(form.weights(written, True), weights), "the weights that write wrote must be bit-equal"
    return True


def _check_damaged(form: Format, path: Path) -> None:
    """Check that damage is refused by a UserError or changes nothing, and that no code in a file is executed."""
    whole, refused = [form.weights(path, averaged) for averaged in (True, False)], set()
    for name in _names(path):
        suffix = Path(name or path.name).suffix
        is_weights = suffix in WEIGHTS
        for damage in _damages(suffix):
            with _copied(path) as copy:
                ran = copy.with_name("ran")
                damage(_file(copy, name), ran)
                what = f"{damage.__name__} of {copy.name}/{name}"
                matched = _matched(form, copy, what)
                if is_weights and copy.is_dir() and damage is not _emptied:
                    assert matched, f"matches must not read weights: {what}"
                found = _outcome(form, copy, what)
                assert not ran.exists(), f"code was executed: {what}"
                if found is None:
                    refused.add(is_weights)
                elif is_weights:
                    same = all(map(_equal, found, whole))
                    assert same, f"damaged weights must be refused, or not be needed: {what}"
    assert True in refused, f"no damage of the weights of {path} is noticed: their files must have one of {WEIGHTS}"


def _matched(form: Format, path: Path, what: str) -> bool:
    try:
        return form.matches(path)
    except Exception as error:
        raise AssertionError(f"matches must not fail: {what}: {type(error).__name__}: {error}") from error


def _outcome(form: Format, path: Path, what: str) -> list[dict[str, Tensor]] | None:
    """The weights, averaged and not, of a checkpoint that loads; None if a UserError refuses it."""
    weights, refused = [], False
    for averaged in (True, False):
        try:
            trained_length(form.record(path))
            weights.append(form.weights(path, averaged))
            form.tokenizer(path)
            load_found(Found(path, form), ema=averaged)
        except UserError:
            refused = True
        except Exception as error:
            raise AssertionError(
                f"damage must be refused by a UserError, not {type(error).__name__}: {what}: {error}"
            ) from error
    return None if refused else weights


def _damages(suffix: str) -> Iterator[Callable[[Path, Path], None]]:
    """Ways to damage a file: functions of the file, and of a folder that code in it would create."""
    yield from (_emptied, _halved)
    if suffix in PICKLES:
        yield from (_saved_code, _pickled_code)


def _emptied(file: Path, ran: Path) -> None:
    file.write_bytes(b"")


def _halved(file: Path, ran: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _saved_code(file: Path, ran: Path) -> None:
    torch.save(_Code(ran), file)


def _pickled_code(file: Path, ran: Path) -> None:
    file.write_bytes(pickle.dumps(_Code(ran)))


class _Code:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """Within: a copy of a checkpoint, alone in a temporary folder."""
    with TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy(path, copy)
        yield copy


def _names(path: Path) -> list[str]:
    """Files of a folder, relative to it; "" for a single file."""
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()) if path.is_dir() else [""]


def _file(path: Path, name: str) -> Path:
    return path / name if name else path


def _digests(path: Path) -> dict[str, str]:
    return {name: digest(_file(path, name)) for name in _names(path)}


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state dicts have the same names, types and bits."""
    return first.keys() == second.keys() and all(
        value.dtype == second[name].dtype and torch.equal(value, second[name]) for name, value in first.items()
    )
