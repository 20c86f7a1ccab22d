"""Description, warnings and checks of a training run before it starts, without reading data."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch

from ..build.build import bind
from ..model.score import ScoreModel
from ..registry.plugins import name_of
from . import budget, contracts
from .checks import CHECKS, WITHOUT_VALUES
from .parts import TrainingParts

LATER = "model    size and memory depend on the vocabulary, which is known once the data has been read"


def describe(run: TrainingParts) -> str:
    """Describe the data, the number of states and the shapes of the network's parameters.

    Args:
        run: Parts of a training run.
    """
    vocab_size, known = run.vocab_size()
    lines = [f"data     {run.data.describe()}"]
    if not known and "num_states" in run.model.keywords:  # an explicit num_states contradicts any stand-in size
        return "\n".join([*lines, LATER])
    graph = contracts.inspection_graph(run.graph, vocab_size)
    with torch.device("meta"):
        backbone, _ = bind(run.model, "model", num_states=graph.num_states)
    model = ScoreModel(backbone, graph, run.head)
    if not known:
        return "\n".join([*lines, LATER])
    count = sum(parameter.numel() for parameter in model.parameters())
    mask = "" if graph.mask is None else " and a mask"
    return "\n".join(
        [
            *lines,
            f"states   {graph.num_states}: {vocab_size} tokens{mask}",
            f"loss     {_loss(run)}",
            f"steps    {run.training.steps:,} of {run.training.batch_size} sequences of {run.data.length} tokens",
            f"model    {count:,} parameters",
            *(f"  {name:<44}{list(p.shape)}" for name, p in backbone.named_parameters()),
        ]
    )


def _loss(run: TrainingParts) -> str:
    """The name of the objective, and how its expectation relates to the likelihood bound."""
    objective, t_min = run.objective, run.training.t_min
    name = name_of(type(objective)) or type(objective).__name__
    if objective.bound_factor(t_min) is None:
        return f"{name}: not the likelihood bound, from which it differs by {objective.leaves_out}"
    return f"{name}: the likelihood bound{f' but for {objective.leaves_out}' if objective.leaves_out else ''}"


def warnings(run: TrainingParts) -> list[str]:
    """Check combinations of parts (`runs.checks`) and the memory of the GPUs.

    Args:
        run: Parts of a training run.

    Returns:
        One sentence per warning.

    Raises:
        UserError: Parts do not fit each other or the memory of the GPUs.
    """
    parts: dict[str, Any] = {
        name: getattr(run, name)
        for name in ("data", "model", "noise", "head", "objective", "sampler", "optimizer", "training")
    }
    vocab_size, known = run.vocab_size()
    parts |= {"processes": run.started_processes(), "graph": contracts.inspection_graph(run.graph, vocab_size)}
    found = []
    for check in CHECKS if not contracts.is_on_meta(parts["graph"]) else WITHOUT_VALUES:
        found += check(**{name: parts[name] for name in signature(check).parameters})
    if known:
        budget.check(run, vocab_size)
    return found


def check_contracts(run: TrainingParts) -> None:
    """Check the contracts of noise, graph and sampler on a few states.

    Args:
        run: Parts of a training run.

    Raises:
        UserError: A part violates its contract.
    """
    graph = contracts.inspection_graph(run.graph, run.vocab_size()[0])
    if not contracts.is_on_meta(graph):
        contracts.check_contracts(graph, run.noise, run.sampler)


def describe_memory(run: TrainingParts) -> str:
    """Describe the memory of training per GPU; "" where the vocabulary size is unknown before reading the data.

    Args:
        run: Parts of a training run.
    """
    vocab_size, known = run.vocab_size()
    return budget.describe(run, vocab_size) if known else ""
