"""Codec between text and tokens: wraps a `tokenizers` tokenizer.json, so that a checkpoint carries its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers

from ..errors import UserError
from ..files import check_readable
from .tokenizer_json import panics_as_user_errors, read_tokenizer_file


class Codec:
    """A tokenizer with the queries that a language model needs.

    Encoding is complete and deterministic: truncation, padding and random splits (BPE dropout, unigram sampling) are
    disabled, even where the tokenizer file enables them.

    Args:
        tokenizer: Tokenizer to wrap; it is modified in place.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        for setting in ("dropout", "alpha", "nbest_size"):
            if getattr(tokenizer.model, setting, None) is not None:
                setattr(tokenizer.model, setting, None)
        self.tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        """Vocabulary size V, added tokens included; ids run from 0 to V - 1."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Encode text without adding special tokens.

        Args:
            text: Text to tokenize.

        Returns:
            Token ids.

        Raises:
            UserError: The text contains a character without a token.
        """
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        with panics_as_user_errors(f"The tokenizer has no tokens for all of {shown!r}"):
            return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts in all cores, without adding special tokens.

        Args:
            texts: Texts to tokenize.

        Returns:
            Token ids of each text.

        Raises:
            UserError: A text contains a character without a token.
        """
        try:
            with panics_as_user_errors("The tokenizer fails"):
                return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        except UserError:
            return [self.encode(text) for text in texts]  # names the text that has no tokens

    def unknown(self, text: str) -> str | None:
        """The first part of the text that has no token or only the unknown token.

        Args:
            text: Text to check.

        Returns:
            That part of the text; None if every part has a token.
        """
        try:
            with panics_as_user_errors("The tokenizer fails"):
                encoding = self.tokenizer.encode(text, add_special_tokens=False)
        except UserError:
            return next((part for part in text if part != text and self.unknown(part)), text)
        parts = zip(encoding.tokens, (text[start:end] for start, end in encoding.offsets), strict=True)
        unknown = getattr(self.tokenizer.model, "unk_token", None)
        return next((part for token, part in parts if token == unknown != part), None)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids, special tokens included.

        Args:
            ids: Token ids.

        Raises:
            UserError: The tokenizer fails to decode these ids.
        """
        with panics_as_user_errors("The tokenizer cannot decode its own tokens"):
            return self.tokenizer.decode(list(ids), skip_special_tokens=False)

    def characters(self, ids: Sequence[int]) -> int:
        """Number of characters that a sequence encodes; special tokens, such as end-of-text, count as none.

        A byte-level sequence that is cut within a character counts the characters whose first byte it contains, so
        that the counts of the pieces of a text add up. Other codecs count their decoded text.

        Args:
            ids: Token ids.
        """
        if self.of_ids:
            return 0
        if self._bytes is None:
            return len(self.text(ids))
        return sum(byte & 0xC0 != 0x80 for index in ids for byte in self._bytes[index])

    def bytes(self, ids: Sequence[int]) -> int:
        """Number of UTF-8 bytes that a sequence encodes; exact for pieces of a byte-level text.

        Args:
            ids: Token ids.
        """
        if self._bytes is None:
            return len(self.text(ids).encode())
        return sum(len(self._bytes[index]) for index in ids)

    def text(self, ids: Sequence[int]) -> str:
        """Decode token ids, special tokens left out: the text that `characters` and `bytes` count.

        Args:
            ids: Token ids.

        Raises:
            UserError: The tokenizer fails to decode these ids.
        """
        with panics_as_user_errors("The tokenizer cannot decode its own tokens"):
            return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def difference(self, other: Codec) -> str | None:
        """Why another codec would encode the same text differently.

        Compares the vocabularies and the encoding rules. Parts that change no token id, such as a decoder or a
        post-processor, are ignored.

        Args:
            other: Codec to compare with.

        Returns:
            A clause about the two for a message; None if both encode any text alike.
        """
        if self.vocab_size != other.vocab_size:
            return f"the one has {self.vocab_size:,} tokens and the other {other.vocab_size:,}"
        pieces = [{i: piece for piece, i in codec.tokenizer.get_vocab().items()} for codec in (self, other)]
        if pieces[0] != pieces[1]:
            token = min(i for i in pieces[0].keys() | pieces[1].keys() if pieces[0].get(i) != pieces[1].get(i))
            return f"token {token} is {pieces[0].get(token)!r} in the one and {pieces[1].get(token)!r} in the other"
        if _rules(self.tokenizer) != _rules(other.tokenizer):
            return "both have the same tokens, but their merges, normalizers or pre-tokenizers differ"
        return None

    @cached_property
    def of_ids(self) -> bool:
        """Whether the text of each token is its own id, as `id_codec` makes it; such tokens encode no characters."""
        if not isinstance(self.tokenizer.pre_tokenizer, pre_tokenizers.WhitespaceSplit):
            return False
        return all(piece == str(index) for piece, index in self.tokenizer.get_vocab().items())

    @cached_property
    def _bytes(self) -> list[bytes] | None:
        """Bytes of each token of a byte-level codec (special tokens: none); None for other and mixed codecs."""
        if not isinstance(self.tokenizer.decoder, decoders.ByteLevel):
            return None
        table = byte_of_character()
        vocabulary = {index: piece for piece, index in self.tokenizer.get_vocab(with_added_tokens=True).items()}
        added = {
            a.content: b"" if a.special else a.content.encode()
            for a in self.tokenizer.get_added_tokens_decoder().values()
        }
        pieces = [vocabulary[index] for index in range(self.vocab_size)]
        if not all(p in added or set(p) <= set(table) for p in pieces):
            return None
        return [added[p] if p in added else bytes(table[character] for character in p) for p in pieces]

    def fitted(self, vocab_size: int, added: Sequence[str] = ()) -> Codec:
        """The codec for a model of another vocabulary size, where tokens beside the text are the only difference.

        Args:
            vocab_size: Number V of tokens of the model.
            added: Tokens to append, if V counts them and the codec has not got them.

        Returns:
            A codec of V tokens: with `added`, or without a last special token, which is then the model's mask; else
            this codec.
        """
        if added and self.vocab_size + len(added) == vocab_size:
            content = Tokenizer.from_str(self.tokenizer.to_str())
            content.add_special_tokens(list(added))
            return Codec(content)
        rest = json.loads(self.tokenizer.to_str())
        kept = [token for token in rest["added_tokens"] if token["id"] != vocab_size or not token["special"]]
        if self.vocab_size != vocab_size + 1 or len(kept) == len(rest["added_tokens"]):
            return self
        return Codec(Tokenizer.from_str(json.dumps(rest | {"added_tokens": kept})))

    def save(self, path: Path) -> None:
        """Write tokenizer.json to `path`."""
        self.tokenizer.save(str(path))

    @classmethod
    def load(cls, path: Path) -> Codec:
        """Read a tokenizer.json.

        Args:
            path: Path of the file.

        Raises:
            UserError: The file is missing or is not a usable tokenizer.json.
        """
        check_readable(path)
        if not path.is_file():
            raise UserError(f"There is no tokenizer at {path}; a tokenizer.json is needed.")
        return cls(read_tokenizer_file(path))


def _rules(tokenizer: Tokenizer) -> dict[str, Any]:
    """Encoding rules of a tokenizer, without unset entries and without the mapping from tokens to ids."""
    content = json.loads(tokenizer.to_str())
    if isinstance(content["model"]["vocab"], dict):  # a list holds scores, which decide on the split
        del content["model"]["vocab"]
    return {name: _stated(content[name]) for name in ("model", "normalizer", "pre_tokenizer")}


def _stated(value: Any) -> Any:
    """A value without trim_offsets and without empty entries, which mean the same as missing ones."""
    if not isinstance(value, dict):
        return value
    return {name: _stated(inner) for name, inner in value.items() if inner and name != "trim_offsets"}


def byte_of_character() -> dict[str, int]:
    """The byte-level alphabet: printable bytes map to themselves, the others to characters from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(b): b for b in printable}, **{chr(256 + i): b for i, b in enumerate(others)}}
