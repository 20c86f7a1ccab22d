"""Where torch.compile would leave its graph in a training step: at documented places only."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import _dynamo as dynamo

from sedd_core.stages import NoiseLevel
from sedd_core.training.batches import draws_of
from tests.support.trainers import trainer

DOCUMENTED = {"key"}
"""docs/training.md: the hash of a draw's address."""


def test_the_compiled_network_is_one_graph() -> None:
    """What `training.compile` compiles."""
    learner = trainer("absorb", "loglinear", scale=True)
    level = NoiseLevel.of_sigma(torch.ones(16, dtype=torch.float64)).to(torch.float32)
    found = dynamo.explain(learner.model.backbone)(torch.zeros(16, 8, dtype=torch.int64), level, None)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.slow)])
def test_a_step_leaves_its_graph_at_documented_places(graph: str) -> None:
    learner = trainer(graph, "loglinear", scale=graph == "absorb")
    batch, draws = learner.batch(0, learner.microbatches[0]), draws_of(learner.training, 0, learner.microbatches[0], 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = dynamo.explain(learner.loss)(batch, draws, 1e-3)
    places = {reason.user_stack[-1].name for reason in found.break_reasons}
    assert places == DOCUMENTED, found.break_reasons
