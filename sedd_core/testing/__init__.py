"""Test kit for the core and for plugins: exact distributions on small state spaces, and conformance checks."""

from .by_name import check_plugin
from .conformance import check_graph, check_head, check_noise
from .data_checks import check_data
from .distributions import random_joint, total_variation
from .empirical import check_draws
from .evaluator_checks import check_evaluator
from .format_checks import check_format
from .model_checks import check_model
from .monitor_checks import check_monitor
from .objective_checks import check_objective
from .oracle import Oracle
from .sampler_checks import check_sampler

__all__ = [
    "Oracle",
    "check_data",
    "check_draws",
    "check_evaluator",
    "check_format",
    "check_graph",
    "check_head",
    "check_model",
    "check_monitor",
    "check_noise",
    "check_objective",
    "check_plugin",
    "check_sampler",
    "random_joint",
    "total_variation",
]
