"""The likelihood bound of validation data."""

from __future__ import annotations

import pytest

from sedd_core import plugin
from sedd_core.testing import check_evaluator


@pytest.mark.parametrize(("graph", "noise"), [("absorb", "loglinear"), ("uniform", "geometric"), ("gidd", "gidd")])
def test_conformance(graph: str, noise: str) -> None:
    evaluator = plugin("evaluator_bound")(sequences=12, points=4, batch_size=5)
    check_evaluator(evaluator, plugin(f"graph_{graph}")(vocab_size=4), plugin(f"noise_{noise}")())


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"sequences": 1}, "for a standard error"), ({"points": 0}, "points"), ({"batch_size": 0}, "batch_size")],
)
def test_settings_that_measure_nothing_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plugin("evaluator_bound")(**settings)
