"""Checks of combinations of parts, one function per rule: warnings, and UserError for what cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from .. import checkpoints
from ..build.workspace import Workspace
from ..errors import UserError
from ..evaluation.integrand import masks_only
from ..model.capabilities import check_takes_documents
from ..registry.plugins import name_of
from ..stages import Backbone, Data, Graph, Head, Noise, Objective, Sampler
from ..training.batches import check_batch_divides
from ..training.loss import check_process_is_fixed
from ..training.settings import Optimizer, Training

LARGEST_PRIOR = 1e-4
"""Largest prior term of the bound, in nats per token, without a warning."""
TOKENS_PER_CALL = 1024
"""Number of tokens per call of `prior_kl`, to limit its memory."""


def prior_is_reached(graph: Graph, noise: Noise) -> Iterator[str]:
    """Warn if the forward process is far from the prior at t = 1: sampling starts from the prior."""
    level, tokens = noise(torch.ones(())), torch.arange(graph.vocab_size)
    tokens = tokens[graph.has_finite_prior(tokens, level)]  # for others the bound integrates on to infinite noise
    if masks_only(graph) or not len(tokens):
        return
    sigma = level.sigma
    nats = torch.cat([graph.prior_kl(part, level) for part in tokens.split(TOKENS_PER_CALL)])
    if nats.max() > LARGEST_PRIOR:
        yield (
            f"at t = 1 (sigma = {sigma.item():.3g}) noised data differs from the prior by up to "
            f"{nats.max().item():.2g} nats per token: this adds to the bound, and samples start from a slightly "
            "wrong distribution. For more noise: noise=geometric"
        )


def process_is_fixed(graph: Graph, noise: Noise) -> Iterator[str]:
    """Reject trainable noise or graph: the loss has no exact gradient for parameters of the forward process."""
    check_process_is_fixed(noise, graph)
    yield from ()


def head_suits(head: Head, graph: Graph) -> Iterator[str]:
    """Warn about a head that is unwise on the graph."""
    reason = head.warning(graph)
    if reason:
        yield reason


def loss_is_bound(objective: Objective, training: Training) -> Iterator[str]:
    """Warn about a loss that is not the likelihood bound, whose figures do not compare with other objectives'."""
    if objective.bound_factor(training.t_min) is None:
        name = name_of(type(objective)) or type(objective).__name__
        yield (
            f"the training loss of {name} is not the likelihood bound (it differs by {objective.leaves_out}): "
            "compare runs by the figures of the evaluators"
        )


def warm_up_ends(optimizer: Optimizer, training: Training) -> Iterator[str]:
    """Warn about a warm-up longer than the run, which never reaches the learning rate."""
    if optimizer.warmup > training.steps:
        yield f"the warm-up of {optimizer.warmup} steps is longer than the run of {training.steps} (optimizer.warmup)"


def moments_can_be_divided(optimizer: Optimizer, training: Training) -> Iterator[str]:
    """Reject moments that are divided over processes and kept in another form too."""
    if training.parallel == "fsdp" and not optimizer.storage.plain:
        raise UserError(
            "training.parallel=fsdp divides the moments: leave optimizer.moments_dtype and optimizer.moments_device at "
            "their defaults, or set training.parallel=ddp."
        )
    yield from ()


def profile_is_reached(training: Training) -> Iterator[str]:
    """Warn about a profile beyond the last step, whose trace would be incomplete."""
    if training.profile and training.profile[1] > training.steps:
        yield f"training.profile={training.profile} ends after the last step, {training.steps}: no trace is written"


def sampler_suits(sampler: Sampler, graph: Graph) -> Iterator[str]:
    """Reject a sampler that needs a property (such as a mask) that the graph does not have."""
    reason = sampler.incompatibility(graph)
    if reason:
        raise UserError(
            f"{name_of(type(sampler))} does not suit {name_of(type(graph))}: {reason}. Set another sampler."
        )
    yield from ()


def objective_suits(objective: Objective, graph: Graph) -> Iterator[str]:
    """Reject an objective that needs a property that the graph does not have."""
    reason = objective.incompatibility(graph)
    if reason:
        name = name_of(type(objective)) or type(objective).__name__
        raise UserError(f"{name} does not suit {name_of(type(graph))}: {reason}. Set another objective.")
    yield from ()


def network_keeps_documents_separate(data: Data, model: partial[Backbone]) -> Iterator[str]:
    """Reject a network that cannot keep the documents of a sequence separate, where the data asks for it."""
    if data.documents == "separate" and isinstance(model.func, type):
        check_takes_documents(model.func)
    yield from ()


def batch_divides(training: Training, processes: int) -> Iterator[str]:
    """Reject a batch that does not divide equally among the processes."""
    check_batch_divides(training, processes)
    yield from ()


CHECKS: tuple[Callable[..., Iterator[str]], ...] = (
    sampler_suits,
    objective_suits,
    network_keeps_documents_separate,
    batch_divides,
    process_is_fixed,
    prior_is_reached,
    head_suits,
    loss_is_bound,
    warm_up_ends,
    moments_can_be_divided,
    profile_is_reached,
)
"""Checks; their parameters are any of data, model, graph, noise, head, objective, sampler, optimizer, training,
processes, by name."""
WITHOUT_VALUES = tuple(check for check in CHECKS if check not in (sampler_suits, objective_suits, prior_is_reached))
"""Checks that do not read values of the graph's tensors, for graphs on the meta device."""


def check_resumable(workspace: Workspace, training: Training, data: str) -> None:
    """Check that the run in the workspace can be resumed with these settings and data.

    Args:
        workspace: Workspace; nothing is checked unless it resumes a run.
        training: Settings of the resumed run.
        data: Fingerprint of the current data.

    Raises:
        UserError: The stored run was trained on other data, or for more steps than training.steps.
    """
    if not workspace.resume:
        return
    if workspace.record.data not in ("", data) and not workspace.allow_changes:
        raise UserError(
            f"The data has changed since the run in {workspace.folder} started. Restore it, start "
            "another run (init_from=... takes the weights of this one), or continue on the new data: --allow_changes."
        )
    reached = max(map(checkpoints.step_of, checkpoints.steps(workspace.folder)), default=0)
    if reached > training.steps:
        raise UserError(
            f"The run in {workspace.folder} has reached step {reached}: training.steps must be at least {reached}."
        )
