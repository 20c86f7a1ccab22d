"""For tests, ours and those of plugins: the oracle of exact laws, and the conformance kit."""

from .conformance import check_graph, check_noise, check_sampler
from .empirical import check_draws
from .oracle import Oracle, random_joint, total_variation

__all__ = ["Oracle", "check_draws", "check_graph", "check_noise", "check_sampler", "random_joint", "total_variation"]
