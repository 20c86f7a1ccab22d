"""Tokenizers as they are published: a tokenizer.json, GPT-2's or BERT's own files, a folder of these, or a hub id."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..errors import UserError
from ..files import check_readable, expanded
from .codec import Codec
from .hub import fetch
from .tokenizer_json import MOST_BYTES, check_ids, panics_as_user_errors

TOKENIZER, VOCAB_JSON, MERGES, VOCAB_TXT = "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"


CONFIGS = ("special_tokens_map.json", "tokenizer_config.json")
"""Files beside a tokenizer that name its special tokens; the later one holds where both name one."""


ADDED = "added_tokens.json"


FILES = (TOKENIZER, VOCAB_JSON, MERGES, VOCAB_TXT, *reversed(CONFIGS), ADDED)


SENTENCEPIECE = ".model"


FORMS = f"a {TOKENIZER}, BERT's {VOCAB_TXT}, a folder with one of them or with {VOCAB_JSON} and {MERGES}, or a hub id"


SAVE = f"AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) of transformers writes {TOKENIZER}"


END = "<|endoftext|>"


ENDS = (END, "</s>", "[SEP]", "<|end_of_text|>", "<eos>")
"""Tokens that end a document by custom: the first that a tokenizer has is taken where no file names one."""


GPT2 = ("GPT2Tokenizer",)


BERT = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")


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
        return _of_bert(path.parent) if path.name == VOCAB_TXT else Codec.load(path)
    if (path / TOKENIZER).is_file():
        return Codec.load(path / TOKENIZER)
    if (path / VOCAB_JSON).is_file() and (path / MERGES).is_file():
        return _of_gpt2(path)
    if (path / VOCAB_TXT).is_file():
        return _of_bert(path)
    models = [path] if path.is_file() else sorted(path.glob(f"*{SENTENCEPIECE}"))
    if models:
        raise UserError(f"{models[0]} is a SentencePiece model, which is not read as such. {SAVE}.")
    raise UserError(
        f"{path} holds no tokenizer: neither {TOKENIZER}, nor {VOCAB_JSON} and {MERGES}, nor {VOCAB_TXT}."
    )


def _of_gpt2(folder: Path) -> Codec:
    """The byte-level tokenizer of GPT-2's own two files."""
    config = _config(folder)
    _check_kind(folder, config, GPT2)
    with panics_as_user_errors(f"The tokenizer in {folder} cannot be read"):
        tokenizer = Tokenizer(models.BPE.from_file(str(folder / VOCAB_JSON), str(folder / MERGES)))
    if any(piece.endswith("</w>") for piece in tokenizer.get_vocab()):
        raise UserError(f"{folder / VOCAB_JSON} is not GPT-2's kind: its words end with </w>. {SAVE}.")
    prefix = _flag(folder, config, "add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(prefix))
    tokenizer.decoder = decoders.ByteLevel()
    special = [_token(config, name, END) for name in ("unk_token", "bos_token", "eos_token")]
    return _with_special(tokenizer, [*special, _token(config, "pad_token")], config, folder)


def _of_bert(folder: Path) -> Codec:
    """The WordPiece tokenizer of BERT's own file."""
    config = _config(folder)
    _check_kind(folder, config, BERT)
    lines = _text(folder / VOCAB_TXT).removesuffix("\n").split("\n")
    defaults = {name: f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    special = {name: _token(config, f"{name}_token", default) for name, default in defaults.items()}
    with panics_as_user_errors(f"The tokenizer in {folder} cannot be read"):
        vocabulary = {piece: index for index, piece in enumerate(lines)}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk"] or defaults["unk"]))
        tokenizer.normalizer = normalizers.BertNormalizer(
            lowercase=bool(_flag(folder, config, "do_lower_case", True)),
            strip_accents=_flag(folder, config, "strip_accents", None),
            handle_chinese_chars=bool(_flag(folder, config, "tokenize_chinese_chars", True)),
        )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _with_special(tokenizer, list(special.values()), config, folder)


def _with_special(tokenizer: Tokenizer, names: list[str | None], config: dict[str, Any], folder: Path) -> Codec:
    """A codec in which those of these tokens that the vocabulary has stand for themselves in a text."""
    check_ids(tokenizer, str(folder))
    _check_added(tokenizer, config, folder)
    tokenizer.add_special_tokens([name for name in names if name and tokenizer.token_to_id(name) is not None])
    return Codec(tokenizer)


def _check_kind(folder: Path, config: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """UserError where a folder without tokenizer.json is of another class."""
    kind = config.get("tokenizer_class")
    if kind is not None and str(kind).removesuffix("Fast") not in kinds:
        raise UserError(f"{folder} holds the files of a {kind}; without {TOKENIZER}, {kinds[0]}'s are read. {SAVE}.")


def _check_added(tokenizer: Tokenizer, config: dict[str, Any], folder: Path) -> None:
    """UserError where the files beside a vocabulary add tokens to it."""
    listed = config.get("added_tokens_decoder")
    names = [_token({"": entry}, "") for entry in listed.values()] if isinstance(listed, dict) else []
    names += list(_json(folder / ADDED)) if (folder / ADDED).is_file() else []
    more = [name for name in names if name and tokenizer.token_to_id(name) is None]
    if more:
        raise UserError(f"{folder} adds tokens to its vocabulary ({more[0]!r}), which needs a {TOKENIZER}. {SAVE}.")


def _stated_ends(path: Path) -> tuple[str, ...]:
    """The eos and the sep token that files beside a tokenizer name."""
    config = _config(path if path.is_dir() else path.parent)
    return tuple(token for name in ("eos_token", "sep_token") if (token := _token(config, name)))


def _config(folder: Path) -> dict[str, Any]:
    """What the files beside a tokenizer say, unset entries left out. UserError where they are damaged."""
    config: dict[str, Any] = {}
    for path in (folder / file for file in CONFIGS):
        if path.is_file():
            config.update((name, value) for name, value in _json(path).items() if value is not None)
    return config


def _token(config: dict[str, Any], name: str, default: str | None = None) -> str | None:
    """A special token's text, which files give by itself or with its settings."""
    value = config.get(name, default)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else default


def _flag(folder: Path, config: dict[str, Any], name: str, default: bool | None) -> bool | None:
    value = config.get(name, default)
    if value is not default and not isinstance(value, bool):
        raise UserError(f"{folder / CONFIGS[-1]} says {name}={value!r}, which is neither true nor false.")
    return value


def _json(path: Path) -> dict[str, Any]:
    """The object of a JSON file. UserError where it is damaged."""
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object.")
    return content


def _text(path: Path) -> str:
    """A file's UTF-8 text. UserError where it cannot be read, or is too large for a tokenizer's."""
    check_readable(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large for a tokenizer: more than {MOST_BYTES:,} bytes.")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
