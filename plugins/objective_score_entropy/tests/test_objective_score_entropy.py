"""Score entropy as an objective: conformance for processes and heads of every kind."""

from __future__ import annotations

import pytest
from objective_score_entropy import ScoreEntropy

from sedd_core import plugin
from sedd_core.testing import check_objective


@pytest.mark.parametrize("head", ["score", "mean"])
@pytest.mark.parametrize("graph", ["absorb", "uniform", "gidd"])
def test_conformance(graph: str, head: str) -> None:
    check_objective(
        ScoreEntropy(),
        plugin(f"graph_{graph}")(vocab_size=3),
        plugin(f"head_{head}")(),
        plugin("noise_geometric" if graph == "uniform" else "noise_loglinear")(),
    )
