"""`check_evaluator` on evaluators with planted faults: each one is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sedd_core import plugin
from sedd_core.maths import Draws
from sedd_core.record import Figure
from sedd_core.stages import EvalContext, EvalData, Evaluator, Noise, ScoreNetwork
from sedd_core.testing import check_evaluator


class Reachable(Evaluator):
    """The mean log-score of token 0 at t = 0.7, over noised pairs: a figure that needs draws and processes.

    Args:
        fault: Name of the planted fault; "" for none.
    """

    def __init__(self, *, fault: str = "") -> None:
        self.fault, self.calls = fault, 0

    def evaluate(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> list[Figure]:
        self.calls += 1
        figures = [self.measure(model, noise, data, context, name) for name in data.valid_sets]
        if self.fault == "two figures with one chart":
            figures += figures[:1]
        if self.fault == "no figures":
            figures = []
        if self.fault == "trained mode":
            model.backbone.train()
        if self.fault == "changed weights":
            next(model.backbone.parameters()).mul_(1.0001)
        return [self.spoiled(figure, context) for figure in figures]

    def measure(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext, name: str) -> Figure:
        sequences = data.valid_sets[name]
        mine = context.share(len(sequences))

        def own() -> list[tuple[int, float]]:
            addresses = torch.arange(len(mine)) if self.fault == "draws addressed by the share" else mine
            batch, seed = sequences.batch(mine), 0 if self.fault == "one seed for all" else context.seed
            level = noise(torch.full((len(mine),), 0.7, dtype=torch.float64))
            x = model.graph.perturb(batch.tokens, level, Draws(seed, addresses))
            if self.fault == "torch's own numbers":
                x = torch.randint_like(x, model.graph.vocab_size)
            if len(mine) == 0:
                return []
            cond = None if self.fault == "no condition" else batch.cond
            documents = None if self.fault == "no documents" else batch.documents
            values = model(x, level, cond=cond, documents=documents)[..., 0].double().clamp(min=-5).mean(-1)
            return list(zip(mine.tolist(), values.tolist(), strict=True))

        parts = [own()] if self.fault == "only its own share" else []
        if self.fault != "only its own share" and not (self.fault == "a process that stays away" and len(mine) == 12):
            parts = context.gather(own)
        values = torch.tensor([value for _, value in sorted(pair for part in parts for pair in part)])
        error = (values.std() / len(values) ** 0.5).item()
        return Figure("level", values.mean().item(), "nats", error, name, len(sequences), "t = 0.7, one draw")

    def spoiled(self, figure: Figure, context: EvalContext) -> Figure:
        changes: dict[str, dict[str, Any]] = {
            "no unit": {"unit": ""},
            "no name": {"name": ""},
            "no protocol": {"protocol": None},
            "nan": {"value": float("nan")},
            "an unknown set": {"set": "other"},
            "a negative error": {"standard_error": -1.0},
            "a state": {"value": figure.value + 0.001 * self.calls},
            "another final figure": {"value": figure.value + 0.001 * context.final},
            "an error that explains nothing": {"standard_error": 1e-6},
            "no error for a figure that has one": {"standard_error": None},
        }
        return replace(figure, **changes.get(self.fault, {}))


FAULTS = {
    "no figures": "must return figures",
    "no unit": "needs a unit",
    "no name": "needs a name",
    "no protocol": "needs a protocol",
    "nan": "must be finite",
    "an unknown set": "must be one of pairs, few",
    "a negative error": "must be 0 or more",
    "two figures with one chart": "chart of its own",
    "a state": "a repetition must give the same figures",
    "torch's own numbers": "a repetition must give the same figures",
    "another final figure": "those of the final evaluation",
    "only its own share": "every process must return the same figures",
    "draws addressed by the share": "two processes must give the figures of one",
    "a process that stays away": "gather equally often",
    "an error that explains nothing": "another seed changes a figure",
    "no error for a figure that has one": "another seed changes a figure",
    "no condition": "Batch.cond",
    "no documents": "Batch.documents",
    "trained mode": "must leave the modes",
    "changed weights": "a repetition must|must leave the parameters",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(fault: str) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_evaluator(Reachable(fault=fault), plugin("graph_uniform")(vocab_size=3), plugin("noise_geometric")())


@pytest.mark.parametrize("fault", ["", "one seed for all"])
@pytest.mark.parametrize(("graph", "noise"), [("absorb", "loglinear"), ("uniform", "geometric")])
def test_a_correct_evaluator_passes(graph: str, noise: str, fault: str) -> None:
    """Also one whose figures do not change with the seed."""
    check_evaluator(Reachable(fault=fault), plugin(f"graph_{graph}")(vocab_size=3), plugin(f"noise_{noise}")())


def test_a_rehearsal_that_fails_is_seen() -> None:
    class Failing(Reachable):
        def rehearse(self, model: ScoreNetwork, noise: Noise, data: EvalData, context: EvalContext) -> None:
            raise RuntimeError("too large")

    with pytest.raises(RuntimeError, match="too large"):
        check_evaluator(Failing(), plugin("graph_uniform")(vocab_size=3), plugin("noise_geometric")())


@pytest.mark.parametrize(("field", "estimator"), [("indices", "exact_k"), ("order", "low_discrepancy")])
def test_the_draws_of_the_bound_are_addressed_by_sequence(
    field: str, estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault in evaluator_bound itself: indices within the share in place of indices within the set."""
    import evaluator_bound

    original = evaluator_bound.estimate

    def local(model: Any, noise: Any, pieces: Any, sizes: Any, settings: Any) -> Any:
        renumbered = (piece._replace(**{field: torch.arange(len(piece.indices))}) for piece in pieces)
        return original(model, noise, renumbered, sizes, settings)

    monkeypatch.setattr(evaluator_bound, "estimate", local)
    evaluator = plugin("evaluator_bound")(sequences=8, points=2, batch_size=8, estimator=estimator)
    with pytest.raises(AssertionError, match="two processes must give the figures of one"):
        check_evaluator(evaluator, plugin("graph_absorb")(vocab_size=3), plugin("noise_loglinear")())
