"""Setup of all tests: runtime checks of types and shapes, one torch thread, and seeds derived from test names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jaxtyping
import pytest
import torch
from fiddle import history
from hypothesis import settings

from tests.support import typechecks

PLUGINS = [folder.name for folder in (Path(__file__).parent / "plugins").iterdir() if (folder / "src").is_dir()]
jaxtyping.jaxtyped = typechecks.jaxtyped_once_per_kind  # what the hook calls
jaxtyping.install_import_hook(["sedd_core", *PLUGINS], "beartype.beartype")  # before any of them is imported
for file in ("jaxtyping/_decorator.py", "tests/support/typechecks.py"):
    history.add_exclude_location(file)  # the hook's frames are not the origin of a value
torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None)  # same examples each time; slow machines
settings.load_profile("repeatable")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed derived from the test's name, so that none is chosen for its outcome."""
    return int.from_bytes(hashlib.sha256(request.node.nodeid.encode()).digest()[:6], "big")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a token cache of the test session, shared by the tests of one process."""
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def shared() -> Path:
    """Folder of development data beside the checkout; tests that use it are skipped where it is missing."""
    folder = Path(__file__).parents[1] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the development data in {folder}, which is not part of the repository")
    return folder
