"""Distributions that exist as metadata and modules in a folder on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sedd_core.registry.plugins import plugin


class Distributions:
    """Distributions in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, distribution: str, names: dict[str, str], version: str = "1.0") -> None:
        """names: the source of each plugin's module, by its name."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        points = "\n".join(f"{name} = {name}" for name in names)
        (info / "entry_points.txt").write_text(f"[sedd]\n{points}\n")
        for name, source in names.items():
            (self.folder / f"{name}.py").write_text(source)


@contextmanager
def distributions_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    """Within: the folder is on the path; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(folder)
    yield Distributions(folder)
    for name in [file.stem for file in folder.glob("*.py")]:
        sys.modules.pop(name, None)
    plugin.cache_clear()
