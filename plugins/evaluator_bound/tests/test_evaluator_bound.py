"""The likelihood bound of validation data."""

from __future__ import annotations

from typing import Any

import pytest

from sedd_core import plugin
from sedd_core.evaluation import UNITS
from sedd_core.testing import check_evaluator


@pytest.mark.parametrize(("graph", "noise"), [("absorb", "loglinear"), ("uniform", "geometric"), ("gidd", "gidd")])
def test_conformance(graph: str, noise: str) -> None:
    evaluator = plugin("evaluator_bound")(sequences=12, points=4, batch_size=5)
    check_evaluator(evaluator, plugin(f"graph_{graph}")(vocab_size=4), plugin(f"noise_{noise}")())


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "times stratified over batches by index": (
        "absorb",
        {"estimator": "low_discrepancy", "batch": 4, "pooling": "batches", "repeats": 2},
    ),
    "lambda": ("absorb", {"estimator": "lambda", "batch": 5, "points": 2}),
    "nodes, without the ends, in all units": (
        "uniform",
        {"estimator": "quadrature", "left_out": ("reconstruction", "prior"), "units": UNITS},
    ),
}


@pytest.mark.parametrize(
    "name", [name if name == "lambda" else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]
)
def test_conformance_of_other_estimators(name: str) -> None:
    """World size, batch size and seed; a batch of a protocol is smaller than the set, so that there are several."""
    graph, settings = OTHERS[name]
    evaluator = plugin("evaluator_bound")(**{"sequences": 12, "points": 4, "batch_size": 5} | settings)
    noise = plugin(f"noise_{'loglinear' if graph == 'absorb' else 'geometric'}")()
    check_evaluator(evaluator, plugin(f"graph_{graph}")(vocab_size=4), noise)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sequences": 1}, "for a standard error"),
        ({"points": 0}, "points"),
        ({"batch_size": 0}, "batch_size"),
        ({"units": ("bits",)}, "units 'bits' does not exist"),
    ],
)
def test_settings_that_measure_nothing_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plugin("evaluator_bound")(**settings)
