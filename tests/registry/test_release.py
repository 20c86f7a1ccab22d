"""Versions: the core and its plugins are one release, and every plugin pins the core by it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from sedd_core import __version__

ROOT = Path(__file__).parents[2]
MAJOR, MINOR = map(int, __version__.split(".")[:2])
PIN = f"sedd-core>={MAJOR}.{MINOR},<{MAJOR}.{MINOR + 1}"


def project(file: Path) -> dict:
    return tomllib.loads(file.read_text())["project"]


def test_all_versions_are_that_of_the_release() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    assert len(files) > 15
    assert {project(file)["version"] for file in files} == {__version__}
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_every_plugin_pins_the_core() -> None:
    pins = {file.parent.name: project(file)["dependencies"] for file in ROOT.glob("plugins/*/pyproject.toml")}
    assert {name for name, found in pins.items() if PIN not in found} == set()
    assert f'dependencies = ["{PIN}"]' in (ROOT / "README.md").read_text()  # of the example plugin
    assert f'dependencies = ["{PIN}"]' in (ROOT / "docs" / "from-0.1.md").read_text()
