"""Published tokenizers: a tokenizer.json, the files of GPT-2 or BERT, a folder of these, or a hub id."""

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
"""Customary end-of-text tokens; the first that a tokenizer has is used if no file names one."""


class EndedCodec(NamedTuple):
    """A codec and the id of its end-of-text token."""

    codec: Codec
    end: int


def read_tokenizer(source: str | Path) -> Codec:
    """Read the tokenizer at a path or of a hub id.

    Args:
        source: Path of a tokenizer.json, BERT's vocab.txt, a folder with one of them or with GPT-2's vocab.json and
            merges.txt, or a hub id ("gpt2").

    Raises:
        UserError: The tokenizer cannot be found or read, or its format is not supported.
    """
    return _read(_found(source))


def read_ended_tokenizer(source: str | Path, end_token: str | None = None) -> EndedCodec:
    """Read the tokenizer at a path or of a hub id, with its end-of-text token.

    Args:
        source: Path or hub id, as for `read_tokenizer`.
        end_token: End-of-text token; None: the eos token named in the tokenizer's files, else their sep token, else
            the first of `ENDS`.

    Raises:
        UserError: As for `read_tokenizer`; or the tokenizer has no such token.
    """
    path = _found(source)
    codec = _read(path)
    return with_end_token(codec, end_token, f"The tokenizer {source}", _stated_ends(path))


def with_end_token(codec: Codec, end_token: str | None, name: str, stated: tuple[str, ...] = ()) -> EndedCodec:
    """Find the end-of-text token of a codec.

    Args:
        codec: Tokenizer.
        end_token: End-of-text token; None: the first of `stated` and `ENDS` that the tokenizer has.
        name: Name of the tokenizer for messages, with a capital.
        stated: End-of-text tokens that the tokenizer's files name.

    Raises:
        UserError: The tokenizer has no such token.
    """
    names = (*stated, *ENDS) if end_token is None else (end_token,)
    end = next((index for index in map(codec.tokenizer.token_to_id, names) if index is not None), None)
    if end is not None:
        return EndedCodec(codec, end)
    if end_token is None:
        raise UserError(
            f"{name} has no end-of-text token: its files name none, and it has none of {', '.join(ENDS)}. "
            "Name one of its tokens: data.end_token=..."
        )
    raise UserError(f"{name} has no token {end_token!r}: set data.end_token to one of its {codec.vocab_size:,} tokens.")


def _found(source: str | Path) -> Path:
    """The file or folder of a tokenizer, fetched from the hub if it is not local."""
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
        raise UserError(f"{models[0]} is a SentencePiece model, which is not supported directly. {SAVE}.")
    raise UserError(
        f"{path} contains no tokenizer: neither {TOKENIZER}, nor {VOCAB_JSON} and {MERGES}, nor {VOCAB_TXT}."
    )


def _stated_ends(path: Path) -> tuple[str, ...]:
    """The eos and sep tokens that the files beside a tokenizer name."""
    config = stated_config(path if path.is_dir() else path.parent)
    return tuple(token for name in ("eos_token", "sep_token") if (token := stated_token(config, name)))
