"""Text files, with a tokenizer trained on them; without files, the corpus that every machine has."""

from __future__ import annotations

import glob
import os
from functools import cache, cached_property
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
from .pieces import depends_on_context, encoded_pieces

PIECE = 200_000
"""Characters tokenized at a time."""
LEARNED = ("bpe", "char", "byte")
"""Tokenizers that are made here."""


class TextFiles(PackedData):
    """Text files, read as one run of tokens that is cut into sequences.

    Args:
        paths: UTF-8 text files (also .gz, .bz2, .xz, .zip) or patterns (corpus/*.txt), in this order; none: the
            docstrings of Python's standard library.
        valid_paths: Files to validate on; none: the end of the text.
        tokenizer: Tokenizer: bpe (byte pairs), char or byte, learned from the training text; or a tokenizer.json,
            BERT's vocab.txt, a folder of tokenizer files or a hub id (gpt2).
        unknown: Whether tokenizer=char has a token for characters that the training text lacks; without it they are
            an error.
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
        """The names of the files validated on, in short."""
        files = self.valid_paths or self.paths
        return title_of(*files) if files else "docstrings"

    def describe(self) -> str:
        """The files, and how they are tokenized."""
        source = ", ".join(self.paths) or "docstrings of Python's standard library"
        pieces = f"{self.vocab} byte-pair pieces" if self.tokenizer == "bpe" else f"{self.tokenizer} tokens"
        return f"{source} in {pieces}, sequences of {self.length}"

    def vocab_size(self) -> int | None:
        """Known for pairs and bytes; characters and files have to be read."""
        return {"bpe": self.vocab, "byte": 256}.get(self.tokenizer)

    def key(self, name: Split) -> str:
        """A hash of the files and of the tokenizer, which the training text decides for both splits."""
        files = self._hashes() if self.paths else docstring_corpus(self.valid_fraction)
        fraction = "" if self.valid_paths else str(self.valid_fraction)
        own = str(self.vocab) if self.tokenizer == "bpe" else "" if self.unknown else "closed"
        if self.tokenizer not in LEARNED:
            own = self._given_codec.tokenizer.to_str()
            if depends_on_context(self._given_codec):
                own += " in context"  # at cuts, its tokens were others
        return corpus_key("data_text 2", name, *files, fraction, self.tokenizer, own)

    def _hashes(self) -> list[str]:
        """Of the files to train on, and of those to validate on. UserError for content that is in both."""
        files = _files(self.valid_paths)
        train, valid = [_hash(path) for path in _files(self.paths)], [_hash(path) for path in files]
        for path in (*self.paths, *self.valid_paths):
            _say_how_it_is_read(path)
        both = [path for path, content in zip(files, valid, strict=True) if content in train]
        if both:
            raise UserError(
                f"{both[0]} would be trained on and validated on: take it out of data.paths, or leave out "
                "data.valid_paths to validate on the end of the text."
            )
        return [*train, "", *valid]

    def tokenize(self, name: Split) -> Tokenized:
        """The codec is made from the training text, or read."""
        train, valid = self._texts()
        if name == "valid":
            if not self.unknown:
                self._check_alphabet(train, valid)
            return Tokenized(self.codec(), encoded_pieces(self.codec(), valid, PIECE))
        codec = self._make_codec(train)
        return Tokenized(codec, encoded_pieces(codec, train, PIECE))

    def _make_codec(self, train: str) -> Codec:
        if self.tokenizer == "bpe":
            return bpe_codec(train, self.vocab)
        if self.tokenizer == "char":
            return character_codec(train, self.unknown)
        return byte_codec() if self.tokenizer == "byte" else self._given_codec

    @cached_property
    def _given_codec(self) -> Codec:
        """The tokenizer that is not learned here."""
        try:
            return read_tokenizer(self.tokenizer)
        except UserError as error:
            raise UserError(
                f"{error} (data.tokenizer={self.tokenizer}; learned here: {', '.join(LEARNED)}.)"
            ) from error

    def _check_alphabet(self, train: str, valid: str) -> None:
        """UserError, with its place, for a character that only the validation text has."""
        strange = set(valid) - set(train)
        if not strange:
            return
        place = next(index for index, character in enumerate(valid) if character in strange)
        whole, start = ("data.valid_paths", "") if self.valid_paths else ("data.paths", train)
        lines = (start + valid[:place]).count("\n")
        raise UserError(
            f"The text to validate on has {valid[place]!r}, which the training text does not have, at character "
            f"{len(start) + place + 1:,} (line {lines + 1:,}) of {whole}, files taken together. Correct it, or set "
            "data.unknown=true for a state of such characters."
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
    """The files that paths and patterns mean, each once, a ~ expanded. UserError for a pattern that matches none."""
    found: list[str] = []
    for path in map(str, map(expanded, paths)):
        matches = [path] if os.path.exists(path) or not glob.has_magic(path) else matching(path)
        if not matches:
            raise UserError(f"No text file matches {path} (from {Path.cwd()}): set data.paths.")
        found += matches
    return list(dict.fromkeys(found))


@cache
def _say_how_it_is_read(path: str) -> None:
    other = "; data=hub reads the documents in it" if ending(path) in ("jsonl", "json", "csv", "parquet") else ""
    console.say(f"         {path}: read as plain UTF-8 text{other}")


def _hash(path: str) -> str:
    """Of a file's content."""
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
