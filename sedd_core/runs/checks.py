"""Combinations of parts: one small check each. What is unwise is a warning; what cannot work is a UserError."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from .. import checkpoints
from ..build.workspace import Workspace
from ..errors import UserError
from ..evaluation.integrand import masks_only
from ..model.score import ScoreHead
from ..registry.plugins import name_of
from ..stages import Graph, Noise, Sampler
from ..training.batches import check_batch_divides
from ..training.settings import Optimizer, Training
from ..training.trainer import check_process_is_fixed

LARGEST_PRIOR = 1e-4
"""Nats a token of the bound's prior term that nobody need be told of."""
TOKENS = 1024
"""How many are looked at in one call."""


def prior_is_reached(graph: Graph, noise: Noise) -> Iterator[str]:
    """Sampling starts from the prior, so that the forward process must have come near it at t = 1, from any token."""
    if masks_only(graph):  # the bound has no such term
        return
    sigma = noise(torch.ones(())).sigma
    nats = torch.cat([graph.prior_kl(tokens, sigma) for tokens in torch.arange(graph.vocab_size).split(TOKENS)])
    never = int(nats.isinf().sum())
    if never:
        yield (
            f"the likelihood bound is infinite for data with {never} of the {len(nats)} tokens: at t = 1, where "
            f"sigma is {sigma.item():.3g}, they can still be in states that have probability 0 under the prior, from "
            "which sampling starts. Its other terms, the loss and samples are unaffected."
        )
    elif nats.max() > LARGEST_PRIOR:
        yield (
            f"at t = 1, where sigma is {sigma.item():.3g}, noised data still differs from the prior by up to "
            f"{nats.max().item():.2g} nats per token: these are part of the bound, and samples start from a slightly "
            "wrong distribution. For more noise: noise=geometric"
        )


def process_is_fixed(graph: Graph, noise: Noise) -> Iterator[str]:
    """The loss has no exact gradient for parameters of the forward process."""
    check_process_is_fixed(noise, graph)
    yield from ()


def scaling_suits(score: ScoreHead, graph: Graph) -> Iterator[str]:
    """Where tokens turn into tokens, a clean token's typical score is nothing like a replaced one's."""
    if score.scale_by_sigma and graph.mask is None:
        yield (
            "score.scale_by_sigma is for graphs with a mask; on this one training starts from a loss that is far too "
            "high, and learns less. As published: score.scale_by_sigma=false"
        )


def warm_up_ends(optimizer: Optimizer, training: Training) -> Iterator[str]:
    """A warm-up longer than the run never reaches the learning rate that was asked for."""
    if optimizer.warmup > training.steps:
        yield f"the warm-up of {optimizer.warmup} steps is longer than the run of {training.steps} (optimizer.warmup)"


def profile_is_reached(training: Training) -> Iterator[str]:
    """A trace of steps that the run does not have is not written."""
    if training.profile and training.profile[1] > training.steps:
        yield f"training.profile={training.profile} goes past the last of {training.steps} steps: no trace is whole"


def sampler_suits(sampler: Sampler, graph: Graph) -> Iterator[str]:
    """Some samplers need a mask, or another property that not every graph has."""
    reason = sampler.incompatibility(graph)
    if reason:
        raise UserError(
            f"{name_of(type(sampler))} does not suit {name_of(type(graph))}: {reason}. Set another sampler."
        )
    yield from ()


def batch_divides(training: Training, processes: int) -> Iterator[str]:
    """Each process takes an equal share of a batch."""
    check_batch_divides(training, processes)
    yield from ()


CHECKS: tuple[Callable[..., Iterator[str]], ...] = (
    sampler_suits,
    batch_divides,
    process_is_fixed,
    prior_is_reached,
    scaling_suits,
    warm_up_ends,
    profile_is_reached,
)
"""Each takes what it needs, by name: graph, noise, score, sampler, optimizer, training, processes."""
WITHOUT_VALUES = tuple(check for check in CHECKS if check not in (sampler_suits, prior_is_reached))
"""Those that a graph without content will do for."""


def check_resumable(workspace: Workspace, training: Training, data: str) -> None:
    """UserError where the run in the folder has learned from other data, or for longer than is asked for.

    data: the fingerprint of what there is now.
    """
    if not workspace.resume:
        return
    if workspace.record.data not in ("", data) and not workspace.allow_changes:
        raise UserError(
            f"The content of the data is not what the run in {workspace.folder} began with. Put that back, start "
            "another run (init_from takes this one's weights), or insist: --allow_changes."
        )
    reached = max(map(checkpoints.step_of, checkpoints.steps(workspace.folder)), default=0)
    if reached > training.steps:
        raise UserError(
            f"The run in {workspace.folder} has reached step {reached}: training.steps must be at least that."
        )
