"""Forward processes for tests: the installed ones, mixtures, and one of another kind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.stats import chi2
from torch import Tensor

from sedd_core import plugin
from sedd_core.stages import Graph, InterpolatingGraph, NoiseLevel


def random_pi(seed: int, *, mask: bool) -> InterpolatingGraph:
    weights = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return InterpolatingGraph(weights / weights.sum(), vocab_size=5 if mask else 6, mask=5 if mask else None)


class Ring(Graph):
    """A process of another kind: to either neighbor at rate 1; everything but its rates is derived."""

    def __init__(self, states: int = 5) -> None:
        super().__init__(vocab_size=states, num_states=states)
        index = torch.arange(states)
        matrix = torch.zeros(states, states, dtype=torch.float64)
        matrix[index, (index + 1) % states] = matrix[index, (index - 1) % states] = 1.0
        self.matrix = matrix - 2 * torch.eye(states, dtype=torch.float64)

    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        elapsed = level.at(x).elapsed(None if since is None else since.at(x))
        return torch.matrix_exp(elapsed[..., None, None] * self.matrix).gather(
            -2, x[..., None, None].expand(*x.shape, 1, self.num_states)
        )[..., 0, :]

    def rate_into(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return self.matrix.T[x]

    def prior_law(self) -> Tensor:
        return torch.full((self.num_states,), 1 / self.num_states, dtype=torch.float64)


def level_of(sigma: float, *shape: int) -> NoiseLevel:
    """The noise level of total noise sigma, in float64."""
    return NoiseLevel.of_sigma(torch.full(shape, sigma, dtype=torch.float64))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "absorb": lambda: plugin("graph_absorb")(vocab_size=5),
    "uniform": lambda: plugin("graph_uniform")(vocab_size=6),
    "random pi": lambda: random_pi(0, mask=False),
    "random pi and a mask": lambda: random_pi(1, mask=True),
    "ring": Ring,
}


class Drifting(Ring):
    """A mixture that changes with the noise, but a transition that ignores `since` except for the elapsed noise."""

    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        sigma = level.at(x).elapsed(None if since is None else since.at(x))[..., None]
        late = torch.full((self.num_states,), 1 / self.num_states, dtype=torch.float64)
        early = torch.nn.functional.one_hot(torch.tensor(0), self.num_states).double()
        pi = torch.lerp(late, early, torch.exp(-sigma))
        stay = torch.nn.functional.one_hot(x, self.num_states).double()
        return torch.exp(-sigma) * stay - torch.expm1(-sigma) * pi

    def rate_into(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """The rates at the least noise: into state 0 only."""
        states = torch.arange(self.num_states)
        return (x == 0).double()[..., None] - (x[..., None] == states).double()


def chi_square(drawn: Tensor, law: Tensor) -> float:
    """The p-value of counts under a law; 0 where something impossible was drawn."""
    counts = torch.bincount(drawn.flatten(), minlength=len(law)).double()
    expected = law * counts.sum()
    possible = law > 0
    if counts[~possible].any():
        return 0.0
    statistic = ((counts - expected) ** 2 / expected)[possible].sum().item()
    return float(chi2.sf(statistic, max(int(possible.sum()) - 1, 1))) if possible.sum() > 1 else 1.0
