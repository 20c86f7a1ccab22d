"""Token ids from .npy and .bin files, read by memory map."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.data import PackedSequences, content_hash, corpus_key, title_of
from sedd_core.files import check_readable, expanded
from sedd_core.stages import Data, Sequences, Split
from sedd_core.text import Codec, id_codec, read_tokenizer

BLOCK = 2**22
"""Number of ids to check at a time."""


class TokenFiles(Data):
    """Files of token ids, one run per split that is cut into sequences.

    Args:
        path: Training file: .npy (one dimension, any integer type) or .bin (ids without a header).
        vocab: Vocabulary size; ids run from 0 to vocab - 1.
        valid_path: Validation file; None: the end of the training file.
        valid_fraction: Fraction of the ids held out at the end for validation.
        id_type: Type of the ids in .bin files, in the byte order of this machine.
        tokenizer: Tokenizer that decodes the ids: a tokenizer.json, BERT's vocab.txt, a folder of tokenizer files or
            a hub id; None: samples are ids between spaces.
        length: Tokens per sequence.
    """

    def __init__(
        self,
        *,
        path: str,
        vocab: int,
        valid_path: str | None = None,
        valid_fraction: float = 0.1,
        id_type: Literal["uint16", "uint32"] = "uint16",
        tokenizer: str | None = None,
        length: int = 1024,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        if vocab < 2:
            raise ValueError(f"vocab must be at least 2, not {vocab}")
        if not 0 < valid_fraction < 1:
            raise ValueError(f"valid_fraction must lie between 0 and 1, not {valid_fraction}")
        if tokenizer in ("bpe", "char", "byte"):  # kept from another data stage
            raise ValueError(f"tokenizer '{tokenizer}' is made from text: name the file of one, or None for ids alone")
        self.path, self.valid_path, self.valid_fraction = path, valid_path, valid_fraction
        self.vocab, self.id_type, self.tokenizer, self.length = vocab, id_type, tokenizer, length

    @property
    def title(self) -> str:
        """The name of the file validated on, in short."""
        return title_of(self.valid_path or self.path)

    def describe(self) -> str:
        """The files and the vocabulary size."""
        valid = self.valid_path or f"its last {100 * self.valid_fraction:g} %"
        return f"{self.path}, validated on {valid}, ids below {self.vocab:,}, sequences of {self.length}"

    def vocab_size(self) -> int | None:
        """Vocabulary size as set."""
        return self.vocab

    def codec(self) -> Codec:
        """The tokenizer's, or that of the ids themselves."""
        return self._codec

    @cached_property
    def _codec(self) -> Codec:
        if self.tokenizer is None:
            return id_codec(self.vocab)
        codec = read_tokenizer(self.tokenizer)
        if codec.vocab_size != self.vocab:
            raise UserError(
                f"The tokenizer {self.tokenizer} has {codec.vocab_size:,} tokens, not {self.vocab:,}: set data.vocab."
            )
        return codec

    def split(self, name: Split) -> Sequences:
        """UserError for a split without a single sequence, and for an id outside the vocabulary."""
        tokens = self._ids[name]
        sequences = PackedSequences(tokens, self.length)
        if not len(sequences):
            raise UserError(
                f"The {name} split of {self.describe()} contains {len(tokens):,} tokens, less than one sequence: "
                "give more tokens, or lower data.length."
            )
        return sequences

    def fingerprint(self) -> str:
        """A hash of the files and of the settings for reading them."""
        paths = [self.path] if self.valid_path is None else [self.path, self.valid_path]
        rest = "" if self.valid_path else str(self.valid_fraction)
        tokenizer = "" if self.tokenizer is None else self.codec().tokenizer.to_str()
        hashes = [content_hash(_file(path)) for path in paths]
        if len(set(hashes)) < len(hashes):
            raise UserError(
                f"{self.valid_path} is in both training and validation data. Omit data.valid_path to validate on "
                "the end of data.path."
            )
        return corpus_key("data_tokens 1", *hashes, self.id_type, str(self.vocab), rest, tokenizer)

    @cached_property
    def _ids(self) -> dict[Split, Integer[Tensor, " N"]]:
        train = self._read(self.path)
        if self.valid_path is not None:
            return {"train": train, "valid": self._read(self.valid_path)}
        cut = round(len(train) * (1 - self.valid_fraction))
        return {"train": train[:cut], "valid": train[cut:]}

    def _read(self, path: str) -> Integer[Tensor, " N"]:
        """A file as a tensor, read where it is indexed; every id is checked once."""
        file = _file(path)
        try:
            ids = np.load(file, mmap_mode="c") if file.suffix == ".npy" else np.memmap(file, self.id_type, "c")
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} cannot be read as token ids: {error}.") from error
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or not ids.dtype.isnative:
            raise UserError(
                f"{path} contains {ids.dtype} of shape {list(ids.shape)}: token ids are one-dimensional integers, "
                "in this machine's byte order."
            )
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK]
            outside = np.flatnonzero((block < 0) | (block >= self.vocab))
            if len(outside):
                raise UserError(
                    f"{path} has the id {block[outside[0]]} at index {start + outside[0]:,}, but data.vocab="
                    f"{self.vocab}: ids run from 0 to {self.vocab - 1:,}. Set data.vocab, or data.id_type of a .bin."
                )
        signed = {"uint32": np.int32, "uint64": np.int64}.get(ids.dtype.name)  # torch indexes few unsigned types
        return torch.from_numpy(ids if signed is None else ids.view(signed))


def _file(path: str) -> Path:
    file = expanded(path)
    check_readable(file)
    if not file.is_file():
        raise UserError(f"There is no file {path} (from {Path.cwd()}): set data.path or data.valid_path.")
    if file.suffix not in (".npy", ".bin"):
        raise UserError(f"{path} is neither .npy nor .bin: token ids are read from those. Text: data=text or data=hub.")
    return file


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return TokenFiles
