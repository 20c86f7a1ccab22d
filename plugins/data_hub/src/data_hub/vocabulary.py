"""Tokenizers of the hub or of a local folder, bytes and characters, each with a token that ends a document."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from sedd_core import UserError
from sedd_core.codec import Codec, byte_codec, character_codec
from sedd_core.files import check_readable

from .hub import ask, quiet_transformers

END = "<|endoftext|>"
"""The end of a document, where the tokenizer has none of its own."""
ENDS = (END, "</s>", "[SEP]", "<|end_of_text|>", "<eos>")
"""Tokens that end a document, of which the first that a tokenizer.json has is taken."""
BARE = {"merges.txt": "GPT2TokenizerFast", "vocab.txt": "BertTokenizerFast"}
"""Classes for folders without a tokenizer_config.json, by a file in them."""


class Vocabulary(NamedTuple):
    """A codec, and the token after each document."""

    codec: Codec
    end: int

    @classmethod
    def of_characters(cls, codec: Codec) -> Vocabulary:
        """Of a codec that `characters_of` made."""
        end = codec.tokenizer.token_to_id(END)
        if end is None:
            raise UserError(f"This tokenizer of characters has no {END}: delete the token cache and begin anew.")
        return cls(codec, end)


def characters_of(texts: Iterable[str]) -> Vocabulary:
    """A token for each character of the texts, one for any other, and one that ends a document."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    return _ended(character_codec("".join(seen)).tokenizer)


def load(name: str) -> Vocabulary:
    """A tokenizer by its name. UserError when it cannot be had, or says no end of a document."""
    if name == "byte":
        return _ended(byte_codec().tokenizer)
    for file in (".", "tokenizer.json", "tokenizer_config.json", *BARE, "vocab.json"):
        check_readable(Path(name) / file)
    if not Path(name).exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UserError(
            f"There is no tokenizer {name}. Set data.tokenizer to a tokenizer.json, or to a folder "
            "with tokenizer.json, vocab.txt, or vocab.json and merges.txt."
        )
    if Path(name).is_file():
        if not Path(name).with_name("tokenizer_config.json").is_file():
            return _of_file(Path(name))
        name = str(Path(name).parent)  # its config says which token ends a document
    try:
        tokenizer = _load(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The tokenizer '{name}' is neither here nor could it be fetched from the Hugging Face hub. On a machine "
            f"with a network: hf download {name} --include '*.json' '*.txt' --local-dir FOLDER; put the folder where "
            "this machine sees it, and set data.tokenizer to its path. 'byte' and 'char' need no files."
        ) from error
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise UserError(f"The tokenizer {name} has no end-of-text token to put between documents.")
    return Vocabulary(Codec(tokenizer.backend_tokenizer), int(end))


def _of_file(path: Path) -> Vocabulary:
    """Of a tokenizer.json, as a checkpoint has one. It does not say which of its tokens ends a document."""
    codec = Codec.load(path)
    end = next((token for token in map(codec.tokenizer.token_to_id, ENDS) if token is not None), None)
    if end is None:
        raise UserError(f"The tokenizer {path} has no token to end a document with: {', '.join(ENDS)}.")
    return Vocabulary(codec, end)


def _ended(tokenizer: Tokenizer) -> Vocabulary:
    tokenizer.add_special_tokens([END])
    return Vocabulary.of_characters(Codec(tokenizer))


def _load(name: str) -> Any:
    """Of the hub, or a local folder: with tokenizer.json, or with the bare files of GPT-2 or BERT."""
    transformers = quiet_transformers()
    kinds = [kind for file, kind in BARE.items() if (Path(name) / file).is_file()]
    if not Path(name).exists():
        ask(f"the tokenizer {name}")
    if (Path(name) / "tokenizer_config.json").is_file() or not kinds:
        return transformers.AutoTokenizer.from_pretrained(name, use_fast=True)
    return getattr(transformers, kinds[0]).from_pretrained(name)
