"""For all tests: shapes are checked at run time, one thread, and seeds that come from the test's name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from fiddle import history
from hypothesis import settings
from jaxtyping import install_import_hook

PLUGINS = [folder.name for folder in (Path(__file__).parent / "plugins").iterdir() if (folder / "src").is_dir()]
install_import_hook(["sedd_core", *PLUGINS], "beartype.beartype")  # before any of them is imported
history.add_exclude_location("jaxtyping/_decorator.py")  # the hook's frames set no value of a config
torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None)  # the same examples; busy machines are slow
settings.load_profile("repeatable")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A function of the test's name: none is chosen for its outcome."""
    return int.from_bytes(hashlib.sha256(request.node.nodeid.encode()).digest()[:6], "big")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token caches of tests are the tests' own, shared among those of one process."""
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def shared() -> Path:
    """The folder of development data beside the checkout; a test that asks for it is skipped without it."""
    folder = Path(__file__).parents[1] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the development data in {folder}, which a fresh clone has not")
    return folder
