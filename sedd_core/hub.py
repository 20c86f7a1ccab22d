"""Files from the Hugging Face hub, and the tokenizer of a model that was published without one."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from .codec import Codec
from .errors import UserError
from .files import check_readable, expanded
from .tokenizer_file import check_ids, panics_as_user_errors

MODEL_FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json")
INSTEAD = {"pytorch_model.bin": "model.safetensors"}
"""A file that is fetched only where the hub lacks the other: both hold the same weights."""
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
END = "<|endoftext|>"


def is_hub_id(path: Path) -> bool:
    """Whether a path that is not there reads like owner/name; not if there is a folder of the owner's name."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) is not None and not path.parent.exists()


def without_folders(path: str) -> str:
    """The name of a path's file or folder alone, for what is shared; a hub id stays whole."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    a_file = re.search(r"\.[A-Za-z]\w*$", name)
    return path if is_hub_id(Path(path)) and not a_file else name


def fetch(name: str, files: tuple[str, ...]) -> Path:
    """The folder with those of the files that the hub has, downloaded or from the hub's own cache; see INSTEAD.

    UserError, with what to download and where to put it, when they cannot be had.
    """
    from huggingface_hub import snapshot_download

    wanted = [file for file in files if file not in INSTEAD]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        others = [file for file in files if file in INSTEAD and not (folder / INSTEAD[file]).is_file()]
        return Path(snapshot_download(name, allow_patterns=[*wanted, *others])) if others else folder
    except Exception as error:  # of the hub's, the network's and the disk's libraries: of no common kind
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"'{name}' is not here, and could not be had from the Hugging Face hub ({reason}). Where there is a "
            f"network, download {', '.join(files)} (those that are there) from https://huggingface.co/{name} into "
            "one folder, and give that folder's path instead."
        ) from error


def read_tokenizer(source: str | Path) -> Codec:
    """The codec of a folder with tokenizer.json, or with GPT-2's vocab.json and merges.txt, or of a hub id ("gpt2").

    UserError when it cannot be had or read.
    """
    folder = expanded(source)
    for name in (".", *TOKENIZER_FILES):
        check_readable(folder / name)
    if not folder.exists():
        if len(folder.parts) > 2:  # no owner/name
            raise UserError(f"There is no tokenizer at {source}: give a folder, a tokenizer.json or a hub id.")
        folder = fetch(str(source), TOKENIZER_FILES)
    if folder.is_file():
        return Codec.load(folder)
    if (folder / "tokenizer.json").is_file():
        return Codec.load(folder / "tokenizer.json")
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocabulary.is_file() and merges.is_file()):
        raise UserError(f"{folder} holds no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt.")
    with panics_as_user_errors(f"The tokenizer in {folder} cannot be read"):
        pieces = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    check_ids(pieces, str(vocabulary))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    if pieces.token_to_id(END) is not None:
        pieces.add_special_tokens([END])
    return Codec(pieces)
