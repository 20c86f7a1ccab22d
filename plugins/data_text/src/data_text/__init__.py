"""Text files with a tokenizer trained on them; without files, the docstrings of Python's standard library."""

from __future__ import annotations

import glob
import os
from functools import cache, cached_property, partial
from pathlib import Path

from sedd_core import UserError, console, hookimpl
from sedd_core.data import PackedData, Tokenized, content_hash, corpus_key, title_of
from sedd_core.files import check_readable, expanded, matching
from sedd_core.stages import Data, Split
from sedd_core.text import (
    Codec,
    bpe_codec,
    byte_codec,
    character_codec,
    ending,
    read_text,
    read_tokenizer,
    starts_with_mark,
)

from .docstrings import docstring_corpus
from .pieces import depends_on_context, encoded_pieces, pieces_of

PIECE = 200_000
"""Characters of a piece of the text."""
LEARNED = ("bpe", "char", "byte")
"""Tokenizers learned from the training text."""


class TextFiles(PackedData):
    """Text files as one run of tokens, cut into sequences.

    Args:
        paths: Training files, in order: UTF-8 text (also .gz, .bz2, .xz, .zip) or patterns (corpus/*.txt); empty:
            the docstrings of Python's standard library.
        valid_paths: Validation files; empty: the end of the training text.
        tokenizer: Tokenizer to use: bpe (byte pairs), char or byte, learned from the training text; or a
            tokenizer.json, BERT's vocab.txt, a folder of tokenizer files or a hub id (gpt2).
        unknown: Whether tokenizer=char has a token for characters that the training text lacks; otherwise they are an
            error.
        vocab: Vocabulary size of tokenizer=bpe.
        length: Tokens per sequence.
        valid_fraction: Fraction of the text held out for validation.
    """

    def __init__(
        self,
        *,
        paths: tuple[str, ...] = (),
        valid_paths: tuple[str, ...] = (),
        tokenizer: str = "bpe",
        unknown: bool = True,
        vocab: int = 1024,
        length: int = 128,
        valid_fraction: float = 0.1,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        if vocab < 257:
            raise ValueError(f"vocab must be at least 257, the bytes and one pair, not {vocab}")
        if not 0 < valid_fraction < 1:
            raise ValueError(f"valid_fraction must lie between 0 and 1, not {valid_fraction}")
        if valid_paths and not paths:
            raise ValueError("valid_paths need paths to train on")
        self.paths, self.valid_paths, self.valid_fraction = paths, valid_paths, valid_fraction
        if not unknown and tokenizer != "char":
            raise ValueError(f"unknown=False is a setting of tokenizer='char', not of '{tokenizer}'")
        self.tokenizer, self.unknown, self.vocab, self.length = tokenizer, unknown, vocab, length

    @property
    def title(self) -> str:
        """Short name of the validation files."""
        files = self.valid_paths or self.paths
        return title_of(*files) if files else "docstrings"

    def describe(self) -> str:
        """Files, tokenizer and sequence length."""
        source = ", ".join(self.paths) or "docstrings of Python's standard library"
        pieces = f"{self.vocab} byte-pair tokens" if self.tokenizer == "bpe" else f"{self.tokenizer} tokens"
        return f"{source} in {pieces}, sequences of {self.length}"

    def vocab_size(self) -> int | None:
        """Vocabulary size for bpe and byte; None for tokenizers that must be read or learned first."""
        return {"bpe": self.vocab, "byte": 256}.get(self.tokenizer)

    def key(self, name: Split) -> str:
        """A hash of the files and the tokenizer; the training text determines the tokenizer of both splits."""
        files = self._hashes() if self.paths else docstring_corpus(self.valid_fraction)
        fraction = "" if self.valid_paths else str(self.valid_fraction)
        own = str(self.vocab) if self.tokenizer == "bpe" else "" if self.unknown else "closed"
        if self.tokenizer not in LEARNED:
            own = self._published_codec.tokenizer.to_str()
            if depends_on_context(self._published_codec):
                own += " in context"  # earlier versions encoded such pieces without context
        return corpus_key("data_text 2", name, *files, fraction, self.tokenizer, own)

    def _hashes(self) -> list[str]:
        """Hashes of the training and validation files. UserError for content in both."""
        files = _files(self.valid_paths)
        train, valid = [_hash(path) for path in _files(self.paths)], [_hash(path) for path in files]
        for path in (*self.paths, *self.valid_paths):
            _report_format(path)
        both = [path for path, content in zip(files, valid, strict=True) if content in train]
        if both:
            raise UserError(
                f"{both[0]} is in both training and validation data. Remove it from data.paths, or omit "
                "data.valid_paths to validate on the end of the text."
            )
        return [*train, "", *valid]

    def tokenize(self, name: Split) -> Tokenized:
        """Tokenize a split with a codec learned from the training text, or read.

        Args:
            name: Name of the split.

        Raises:
            UserError: A file or the tokenizer cannot be read or does not fit the text.
        """
        train, valid = self._texts()
        if name == "valid" and not self.unknown:
            self._check_alphabet(train, valid)
        codec, text = (self.codec(), valid) if name == "valid" else (self._make_codec(train), train)
        return Tokenized(codec, pieces_of(codec, text, PIECE), partial(encoded_pieces, codec, text))

    def _make_codec(self, train: str) -> Codec:
        if self.tokenizer == "bpe":
            return bpe_codec(train, self.vocab)
        if self.tokenizer == "char":
            return character_codec(train, self.unknown)
        return byte_codec() if self.tokenizer == "byte" else self._published_codec

    @cached_property
    def _published_codec(self) -> Codec:
        """Tokenizer read from files or the hub."""
        try:
            return read_tokenizer(self.tokenizer)
        except UserError as error:
            raise UserError(
                f"{error} (data.tokenizer={self.tokenizer}; learned here: {', '.join(LEARNED)}.)"
            ) from error

    def _check_alphabet(self, train: str, valid: str) -> None:
        """Raise UserError, with the position, for a character that only the validation text contains."""
        unseen = set(valid) - set(train)
        if not unseen:
            return
        position = next(index for index, character in enumerate(valid) if character in unseen)
        setting, start = ("data.valid_paths", "") if self.valid_paths else ("data.paths", train)
        lines = (start + valid[:position]).count("\n")
        raise UserError(
            f"The validation text contains {valid[position]!r}, which the training text lacks, at character "
            f"{len(start) + position + 1:,} (line {lines + 1:,}) of {setting}, files concatenated. Correct it, or "
            "set data.unknown=true to add a token for such characters."
        )

    def _texts(self) -> tuple[str, str]:
        """Training and validation text."""
        if not self.paths:
            return docstring_corpus(self.valid_fraction)
        train = "".join(map(read_text, map(Path, _files(self.paths))))
        if self.valid_paths:
            return train, "".join(map(read_text, map(Path, _files(self.valid_paths))))
        cut = round(len(train) * (1 - self.valid_fraction))
        return train[:cut], train[cut:]


def _files(paths: tuple[str, ...]) -> list[str]:
    """Files that match paths and patterns, each once, with ~ expanded. UserError for a pattern without a match."""
    found: list[str] = []
    for path in map(str, map(expanded, paths)):
        matches = [path] if os.path.exists(path) or not glob.has_magic(path) else matching(path)
        if not matches:
            raise UserError(f"No text file matches {path} (from {Path.cwd()}): set data.paths.")
        found += matches
    return list(dict.fromkeys(found))


@cache
def _report_format(path: str) -> None:
    other = "; data=hub reads the documents in it" if ending(path) in ("jsonl", "json", "csv", "parquet") else ""
    console.say(f"         {path}: read as plain UTF-8 text{other}")


def _hash(path: str) -> str:
    """Hash of a file's content, without a byte-order mark."""
    check_readable(Path(path))
    if not Path(path).is_file():
        raise UserError(f"There is no text file {path} (from {Path.cwd()}): set data.paths.")
    try:
        content = content_hash(Path(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return corpus_key(content, "without its mark") if starts_with_mark(Path(path)) else content


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return TextFiles
