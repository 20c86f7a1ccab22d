"""A stand-in for the Hugging Face hub: folders of this machine under the ids of the hub."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest


def local_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, repositories: Mapping[str, Path]) -> None:
    """Let downloads from the hub copy files of local folders, those alone that the caller asks for.

    Args:
        monkeypatch: Fixture of the test.
        folder: Folder of the copies.
        repositories: Folder of each repository by its id.
    """

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        if name not in repositories:
            raise FileNotFoundError(f"there is no {name}")
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for file in repositories[name].iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copyfile(file, target / file.name)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
