"""Tokenizers as they are published: a tokenizer.json, GPT-2's or BERT's own files, a folder of these, or a hub id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files import check_readable, expanded
from .codec import Codec
from .hub import fetch
from .own_files import (
    ADDED,
    CONFIGS,
    END,
    MERGES,
    SAVE,
    TOKENIZER,
    VOCAB_JSON,
    VOCAB_TXT,
    bert_codec,
    gpt2_codec,
    stated_config,
    stated_token,
)

FILES = (TOKENIZER, VOCAB_JSON, MERGES, VOCAB_TXT, *reversed(CONFIGS), ADDED)
SENTENCEPIECE = ".model"
FORMS = f"a {TOKENIZER}, BERT's {VOCAB_TXT}, a folder with one of them or with {VOCAB_JSON} and {MERGES}, or a hub id"
ENDS = (END, "</s>", "[SEP]", "<|end_of_text|>", "<eos>")
"""Tokens that end a document by custom: the first that a tokenizer has is taken where no file names one."""


class EndedCodec(NamedTuple):
    """A codec, and its token that ends a document."""

    codec: Codec
    end: int


def read_tokenizer(source: str | Path) -> Codec:
    """The tokenizer at a path or of a hub id.

    Args:
        source: A tokenizer.json, BERT's vocab.txt, a folder with one of them or with GPT-2's vocab.json and
            merges.txt, or a hub id ("gpt2").

    Raises:
        UserError: It cannot be had or read, or is of a kind that is not read.
    """
    return _read(_found(source))


def read_ended_tokenizer(source: str | Path, end_token: str | None = None) -> EndedCodec:
    """The tokenizer at a path or of a hub id, with the token that ends a document.

    Args:
        source: As for `read_tokenizer`.
        end_token: The token that ends a document. None: the eos token of its files, else their sep token, else the
            first of `ENDS`.

    Raises:
        UserError: As `read_tokenizer`; or it has no such token.
    """
    path = _found(source)
    codec = _read(path)
    return with_end_token(codec, end_token, f"The tokenizer {source}", _stated_ends(path))


def with_end_token(codec: Codec, end_token: str | None, name: str, stated: tuple[str, ...] = ()) -> EndedCodec:
    """A codec with the token that ends a document.

    Args:
        codec: The tokenizer.
        end_token: The token's text. None: the first of `stated` and `ENDS` that the tokenizer has.
        name: What messages call the tokenizer, with a capital.
        stated: Tokens that the tokenizer's files name as ends.

    Raises:
        UserError: The tokenizer has no such token.
    """
    names = (*stated, *ENDS) if end_token is None else (end_token,)
    end = next((index for index in map(codec.tokenizer.token_to_id, names) if index is not None), None)
    if end is not None:
        return EndedCodec(codec, end)
    if end_token is None:
        raise UserError(
            f"{name} has no token to end a document with: its files name none, and it has none of {', '.join(ENDS)}. "
            "Name one of its tokens: data.end_token=..."
        )
    raise UserError(
        f"{name} has no token {end_token!r}: set data.end_token to one of its {codec.vocab_size:,} tokens."
    )


def _found(source: str | Path) -> Path:
    """The file or folder, fetched where it is not here. UserError where it cannot be had."""
    path = expanded(source)
    for name in (".", *FILES):
        check_readable(path / name)
    if path.exists():
        return path
    is_id = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(source)) and not re.search(r"\.(json|txt|model)$", str(source))
    if not is_id or (len(path.parts) == 2 and path.parent.exists()):
        raise UserError(f"There is no tokenizer at {source} (from {Path.cwd()}): give {FORMS}.")
    return fetch(str(source), FILES)


def _read(path: Path) -> Codec:
    if path.is_file() and path.suffix != SENTENCEPIECE:
        return bert_codec(path.parent) if path.name == VOCAB_TXT else Codec.load(path)
    if (path / TOKENIZER).is_file():
        return Codec.load(path / TOKENIZER)
    if (path / VOCAB_JSON).is_file() and (path / MERGES).is_file():
        return gpt2_codec(path)
    if (path / VOCAB_TXT).is_file():
        return bert_codec(path)
    models = [path] if path.is_file() else sorted(path.glob(f"*{SENTENCEPIECE}"))
    if models:
        raise UserError(f"{models[0]} is a SentencePiece model, which is not read as such. {SAVE}.")
    raise UserError(
        f"{path} holds no tokenizer: neither {TOKENIZER}, nor {VOCAB_JSON} and {MERGES}, nor {VOCAB_TXT}."
    )


def _stated_ends(path: Path) -> tuple[str, ...]:
    """The eos and the sep token that files beside a tokenizer name."""
    config = stated_config(path if path.is_dir() else path.parent)
    return tuple(token for name in ("eos_token", "sep_token") if (token := stated_token(config, name)))
