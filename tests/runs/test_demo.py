"""The demo model that the repository holds: it loads, fits in 12 MB, and fills in a prompt."""

from __future__ import annotations

from sedd_core import load
from tests.support.runs import ROOT

DEMO = ROOT / "examples" / "demo"


def test_the_demo_fills_in_a_prompt() -> None:
    assert (DEMO / "model.safetensors").stat().st_size <= 12_000_000
    (text,) = load(str(DEMO)).sample("Once upon a time[[*]]the end.", steps=24, length=64, sampler="sampler_analytic")
    assert text.startswith("Once upon a time")
    assert text.endswith("the end.")
    words = text.removeprefix("Once upon a time").removesuffix("the end.").split()
    common = {
        "the",
        "a",
        "was",
        "to",
        "and",
        "there",
        "he",
        "she",
        "in",
        "her",
        "they",
        "it",
        "little",
        "named",
        "with",
    }
    assert common & {word.strip(".,").lower() for word in words}
