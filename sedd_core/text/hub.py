"""Files from the Hugging Face hub."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from ..console import say
from ..errors import UserError

INSTEAD = {"pytorch_model.bin": "model.safetensors"}
"""A file that is fetched only where the hub lacks the other: both hold the same weights."""


def is_hub_id(path: Path) -> bool:
    """Whether a path that is not there reads like owner/name; not if there is a folder of the owner's name."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()) is not None and not path.parent.exists()


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

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries: what fails is said once, below
    say(f"Looking for {name} on the Hugging Face hub, or in its cache here.")  # giving up may take it half a minute
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
