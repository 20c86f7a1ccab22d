"""Tokenised corpora on disk: written once, whole or not at all, and read by memory map.

A corpus is a folder <cache>/<key>/ of tokenizer.json and a file of tokens for each split, its key a hash of the
content and of how it was tokenised. The cache is $SEDD_CACHE, or ~/.cache/sedd.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .codec import Codec
from .errors import UserError
from .stages.data import Data, PackedSequences, Sequences, Split


class Corpus(NamedTuple):
    """Tokens [N] of each split, with their codec."""

    codec: Codec
    train: Int[Tensor, " N"]
    valid: Int[Tensor, " M"]


class PackedData(Data):
    """Data that is one long run of tokens a split, cut into sequences; kept in the cache once it is tokenised."""

    @abstractmethod
    def tokenise(self) -> tuple[Codec, list[int], list[int]]:
        """The codec, and the tokens of the training and the validation split."""

    def codec(self) -> Codec:
        """As `tokenise` made it."""
        return self._corpus.codec

    def split(self, name: Split) -> Sequences:
        """UserError for a split shorter than one sequence."""
        sequences = PackedSequences(getattr(self._corpus, name), self.length)
        if not len(sequences):
            raise UserError(f"The {name} split of {self.describe()} is shorter than one sequence: lower data.length.")
        return sequences

    @cached_property
    def _corpus(self) -> Corpus:
        return cached_corpus(self.fingerprint(), self.tokenise)


def cache_folder() -> Path:
    """Where corpora are kept."""
    return Path(os.environ.get("SEDD_CACHE", Path.home() / ".cache" / "sedd"))


def corpus_key(*parts: str) -> str:
    """A hash of contents and settings; the order counts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached_corpus(key: str, build: Callable[[], tuple[Codec, list[int], list[int]]]) -> Corpus:
    """The corpus of this key, built when there is none or it is damaged. UserError when it cannot be written."""
    folder = cache_folder() / key[:32]
    try:
        return _read(folder)
    except (OSError, ValueError, UserError):
        pass
    codec, train, valid = build()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix="building-"))
        try:
            _write(temporary, codec, {"train": train, "valid": valid})
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return _read(folder)
    except OSError as error:
        raise UserError(
            f"Tokens cannot be kept in {folder.parent}: {error.strerror or error}. Name a folder that can be "
            "written, with room: SEDD_CACHE=..."
        ) from error


def _write(folder: Path, codec: Codec, splits: dict[str, list[int]]) -> None:
    kind = np.int16 if codec.vocab_size <= np.iinfo(np.int16).max + 1 else np.int32
    codec.save(folder / "tokenizer.json")
    for name, tokens in splits.items():
        np.save(folder / f"{name}.npy", np.asarray(tokens, dtype=kind))
    (folder / "whole").touch()


def _read(folder: Path) -> Corpus:
    if not (folder / "whole").is_file():
        raise ValueError
    train, valid = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("train", "valid"))  # copy on write
    return Corpus(Codec.load(folder / "tokenizer.json"), torch.from_numpy(train), torch.from_numpy(valid))
