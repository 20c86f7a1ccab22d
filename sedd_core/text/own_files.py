"""Tokenizer files of GPT-2 (vocab.json with merges.txt) and BERT (vocab.txt), and the configuration beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..errors import UserError
from ..files import check_readable
from .codec import Codec
from .tokenizer_json import MOST_BYTES, check_ids, panics_as_user_errors

TOKENIZER, VOCAB_JSON, MERGES, VOCAB_TXT = "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"
CONFIGS = ("special_tokens_map.json", "tokenizer_config.json")
"""Files beside a tokenizer that name its special tokens; the later one takes precedence."""
ADDED = "added_tokens.json"
SAVE = f"AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) of transformers writes {TOKENIZER}"
END = "<|endoftext|>"
"""End-of-text token of GPT-2."""
GPT2 = ("GPT2Tokenizer",)
BERT = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")


def gpt2_codec(folder: Path) -> Codec:
    """Read the byte-level tokenizer in GPT-2's two files.

    Args:
        folder: Folder with vocab.json and merges.txt.

    Raises:
        UserError: The files are damaged, or belong to another tokenizer class.
    """
    config = stated_config(folder)
    _check_kind(folder, config, GPT2)
    with panics_as_user_errors(f"The tokenizer in {folder} cannot be read"):
        tokenizer = Tokenizer(models.BPE.from_file(str(folder / VOCAB_JSON), str(folder / MERGES)))
    if any(piece.endswith("</w>") for piece in tokenizer.get_vocab()):
        raise UserError(f"{folder / VOCAB_JSON} is not a GPT-2 vocabulary: its words end with </w>. {SAVE}.")
    prefix = _flag(folder, config, "add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(prefix))
    tokenizer.decoder = decoders.ByteLevel()
    special = [stated_token(config, name, END) for name in ("unk_token", "bos_token", "eos_token")]
    return _with_special(tokenizer, [*special, stated_token(config, "pad_token")], config, folder)


def bert_codec(folder: Path) -> Codec:
    """Read the WordPiece tokenizer in BERT's file.

    Args:
        folder: Folder with vocab.txt.

    Raises:
        UserError: The files are damaged, or belong to another tokenizer class.
    """
    config = stated_config(folder)
    _check_kind(folder, config, BERT)
    lines = _text(folder / VOCAB_TXT).removesuffix("\n").split("\n")
    defaults = {name: f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    special = {name: stated_token(config, f"{name}_token", default) for name, default in defaults.items()}
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
    """A codec with the named tokens that the vocabulary contains marked as special."""
    check_ids(tokenizer, str(folder))
    _check_added(tokenizer, config, folder)
    tokenizer.add_special_tokens([name for name in names if name and tokenizer.token_to_id(name) is not None])
    return Codec(tokenizer)


def _check_kind(folder: Path, config: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """Raise UserError if the folder names another tokenizer class."""
    kind = config.get("tokenizer_class")
    if kind is not None and str(kind).removesuffix("Fast") not in kinds:
        raise UserError(
            f"{folder} contains files of {kind}; without {TOKENIZER}, only {kinds[0]} files are read. {SAVE}."
        )


def _check_added(tokenizer: Tokenizer, config: dict[str, Any], folder: Path) -> None:
    """Raise UserError if the files beside a vocabulary add tokens to it."""
    listed = config.get("added_tokens_decoder")
    names = [stated_token({"": entry}, "") for entry in listed.values()] if isinstance(listed, dict) else []
    names += list(_json(folder / ADDED)) if (folder / ADDED).is_file() else []
    more = [name for name in names if name and tokenizer.token_to_id(name) is None]
    if more:
        raise UserError(f"{folder} adds tokens to its vocabulary ({more[0]!r}), which needs a {TOKENIZER}. {SAVE}.")


def stated_config(folder: Path) -> dict[str, Any]:
    """Read the configuration files beside a tokenizer.

    Args:
        folder: Folder of the tokenizer.

    Returns:
        Entries of all files, unset (null) entries left out.

    Raises:
        UserError: A file is damaged.
    """
    config: dict[str, Any] = {}
    for path in (folder / file for file in CONFIGS):
        if path.is_file():
            config.update((name, value) for name, value in _json(path).items() if value is not None)
    return config


def stated_token(config: dict[str, Any], name: str, default: str | None = None) -> str | None:
    """The text of a special token, which files state as a string or as an object with settings.

    Args:
        config: Entries of the configuration files.
        name: Name of the entry, such as "eos_token".
        default: Text if the entry is missing.
    """
    value = config.get(name, default)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else default


def _flag(folder: Path, config: dict[str, Any], name: str, default: bool | None) -> bool | None:
    value = config.get(name, default)
    if value is not default and not isinstance(value, bool):
        raise UserError(f"{folder / CONFIGS[-1]} has {name}={value!r}, which is neither true nor false.")
    return value


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. UserError if it is damaged."""
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object.")
    return content


def _text(path: Path) -> str:
    """UTF-8 text of a file. UserError if it cannot be read or is too large for a tokenizer."""
    check_readable(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large for a tokenizer: more than {MOST_BYTES:,} bytes.")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
