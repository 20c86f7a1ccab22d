"""text8: the first 10^8 letters and blanks of a cleaned Wikipedia, in its usual three parts, 27 characters."""

from __future__ import annotations

import logging
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from sedd_core import UserError, console, hookimpl
from sedd_core.data import PackedData, Tokenized, Tokens, content_hash, corpus_key, title_of
from sedd_core.files import check_readable, expanded
from sedd_core.stages import Data, Split
from sedd_core.text import Codec, character_codec, read_text

REPOSITORY = "afmck/text8"
WHOLE = 100_000_000
PARTS: dict[Split, slice] = {"train": slice(0, 90_000_000), "valid": slice(90_000_000, 95_000_000)}
"""Splits of the whole text, in characters; the last 5 million characters are the test split."""
SHORT_PARTS: dict[Split, slice] = {"train": slice(0, -200_000), "valid": slice(-200_000, -100_000)}
"""Splits of a shorter text, in characters; its last 100,000 characters are the test split."""
START = " anarchism originated as a term of abuse"
"""Beginning of text8, which identifies it among texts with the same alphabet."""
CHARACTERS = " " + ascii_lowercase


class Text8(PackedData):
    """text8 in characters: 90 million to train on, 5 million to validate on, 5 million for the test.

    Of a shorter text, the beginning of text8, the 100,000 characters before the last 100,000 are for validation, and
    charts are named text8_part.

    Args:
        path: File that contains text8 (also .gz, .zip); None: the copy on the hub.
        length: Characters per sequence (256 as published).
    """

    def __init__(self, *, path: str | None = None, length: int = 256) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        self.path, self.length = path, length

    @property
    def title(self) -> str:
        """text8, or text8_part for a beginning of it; another text bears its file's name."""
        if self.path and self.codec().decode(self.corpus("train").tokens[: len(START)].tolist()) != START:
            return title_of(self.path)
        return "text8" if len(self.corpus("valid").tokens) == 5_000_000 else "text8_part"

    def describe(self) -> str:
        """Where it is read from."""
        return f"text8 ({self.path or REPOSITORY}) in 27 characters, sequences of {self.length}"

    def vocab_size(self) -> int | None:
        """Vocabulary size: space and 26 letters."""
        return len(CHARACTERS)

    def codec(self) -> Codec:
        """Codec with one token per character."""
        return character_codec(CHARACTERS, unknown=False)

    def key(self, name: Split) -> str:
        """A hash of the text."""
        if self.path is not None:
            return corpus_key("text8 1", name, content_hash(self._file()))
        return corpus_key("text8 1", name, *(rows._fingerprint for rows in self._hub()))

    def tokenize(self, name: Split) -> Tokenized:
        """A part of the text. UserError when it is not text8."""
        text = self._text()
        if len(text) != WHOLE and name == "valid":
            console.say(
                f"This text8 has {len(text):,} of {WHOLE:,} characters: its figures cannot be compared with "
                "published ones."
            )
        part = text[(PARTS if len(text) == WHOLE else SHORT_PARTS)[name]]
        if not part:
            raise UserError(f"{self.path} has only {len(text):,} characters; its splits need at least 300,000.")
        return Tokenized(self.codec(), [_encoded(part)])

    def _text(self) -> str:
        if self.path is None:
            text = "".join(row for rows in self._hub() for row in rows["text"])
        else:
            text = read_text(self._file(), "text8")
        invalid = sorted(set(text.rstrip("\r\n")) - set(CHARACTERS))
        if invalid:
            raise UserError(
                f"{self.path or REPOSITORY} contains {invalid[0]!r}; text8 has only spaces and the letters a to z. "
                "Another text: data=text"
            )
        return text.rstrip("\r\n")

    def _file(self) -> Path:
        assert self.path is not None
        check_readable(expanded(self.path))
        if not expanded(self.path).is_file():
            raise UserError(f"There is no file {self.path} (from {Path.cwd()}).")
        return expanded(self.path)

    def _hub(self) -> list:
        """The three splits of the hub's copy, in order."""
        from datasets import load_dataset  # seconds to import: only where a run reads data

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what fails is said once, by us
        console.say(f"         looking for text8 ({REPOSITORY}) on the Hugging Face hub, or in its local cache")
        try:
            return [load_dataset(REPOSITORY, split=split) for split in ("train", "validation", "test")]
        except (OSError, ValueError) as error:
            raise UserError(
                f"text8 ({REPOSITORY}) does not exist locally and could not be fetched from the Hugging Face hub. "
                "Download text8.zip (from Matt Mahoney's site, mattmahoney.net/dc) on a machine with a network, and "
                "set data.path to it."
            ) from error


def _encoded(text: str) -> Tokens:
    """As the codec does, at once: a character's token is its place among CHARACTERS."""
    table = np.zeros(128, np.uint8)
    table[[ord(character) for character in CHARACTERS]] = np.arange(len(CHARACTERS))
    return table[np.frombuffer(text.encode("ascii"), np.uint8)]


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return Text8
