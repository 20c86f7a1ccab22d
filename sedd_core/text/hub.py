"""Files from the Hugging Face hub."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from ..console import say
from ..errors import UserError

INSTEAD = {"pytorch_model.bin": "model.safetensors"}
"""Files that are fetched only if the hub lacks the other one: both contain the same weights."""


def is_hub_id(path: Path) -> bool:
    """Whether a path has the form owner/name of a hub id and no local folder has the owner's name.

    Args:
        path: Path that does not exist locally.
    """
    return re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()) is not None and not path.parent.exists()


def without_folders(path: str) -> str:
    """The last component of a path, for files that are shared; a hub id stays whole.

    Args:
        path: Path or hub id.
    """
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    has_extension = re.search(r"\.[A-Za-z]\w*$", name)
    return path if is_hub_id(Path(path)) and not has_extension else name


def fetch(name: str, files: tuple[str, ...]) -> Path:
    """Download files of a repository, or find them in the hub's own cache.

    Args:
        name: Hub id.
        files: Names of the files to fetch; files that the hub lacks are skipped (see `INSTEAD`).

    Returns:
        The folder that contains the files.

    Raises:
        UserError: The files are not available; the message says what to download and where to put it.
    """
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # hide its retries: a failure is reported once, below
    say(
        f"Looking for {name} on the Hugging Face hub, or in its local cache."
    )  # without a network, giving up may take half a minute
    wanted = [file for file in files if file not in INSTEAD]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        others = [file for file in files if file in INSTEAD and not (folder / INSTEAD[file]).is_file()]
        return Path(snapshot_download(name, allow_patterns=[*wanted, *others])) if others else folder
    except Exception as error:  # from the libraries of the hub, the network and the disk: no common base
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"'{name}' does not exist locally and could not be fetched from the Hugging Face hub ({reason}). On a "
            f"machine with a network, download {', '.join(files)} (those that exist) from "
            f"https://huggingface.co/{name} into one folder, and give that folder's path instead."
        ) from error
