"""Between text and tokens: every codec is a `tokenizers` tokenizer.json, so a checkpoint carries its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from .errors import UserError


class Codec:
    """A tokenizer, with what a language model needs to know of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        """V: ids run from 0 to V - 1."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with no special tokens added."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)

    def characters(self, ids: Sequence[int]) -> int:
        """How many characters a sequence stands for."""
        return len(self.decode(ids))

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        self.tokenizer.save(str(path))

    @classmethod
    def load(cls, path: Path) -> Codec:
        """Read tokenizer.json."""
        if not path.is_file():
            raise UserError(f"There is no tokenizer at {path}.")
        return cls(Tokenizer.from_file(str(path)))
