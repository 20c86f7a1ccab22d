"""The documentation site: every page, every link, every docstring of the public rooms, without a warning."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from sedd_core.registry.table import STAGES
from tests.support.runs import ROOT

_spec = importlib.util.spec_from_file_location("build_docs", ROOT / "scripts" / "build_docs.py")
assert _spec
assert _spec.loader
site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(site)


def test_links_lead_to_pages_pictures_and_nothing_else(tmp_path: Path) -> None:
    file = ROOT / "docs" / "a_page.md"
    pages = {"docs/training.md": "training.md", "plugins/graph_absorb/README.md": "plugins/graph_absorb.md"}
    texts = {
        "[a](training.md#resume)": "[a](training.md#resume)",
        "[`b`](../plugins/graph_absorb)": "[`b`](plugins/graph_absorb.md)",
        "![c](trajectory.svg)": "![c](trajectory.svg)",
        "[d](../LICENSE)": "`d`",
        "[e](no_such_page.md)": "[e](no_such_page.md)",
        "[f](https://arxiv.org/abs/2310.16834)": "[f](https://arxiv.org/abs/2310.16834)",
    }
    for text, expected in texts.items():
        assert site.rewrite(text, file, "a_page.md", pages, tmp_path) == expected
    assert (tmp_path / "trajectory.svg").read_bytes() == (ROOT / "docs" / "trajectory.svg").read_bytes()


def test_every_hook_is_on_the_page_of_hooks() -> None:
    page = site.hooks()
    for name, stage in STAGES.items():
        assert f"## sedd_{name}()" in page
        assert stage.contract.split(":")[1] in page


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    assert site.build(tmp_path) == 0
    assert "Score Entropy Discrete Diffusion" in (tmp_path / "html" / "index.html").read_text()
    assert "InterpolatingGraph" in (tmp_path / "html" / "reference" / "stages.html").read_text()
