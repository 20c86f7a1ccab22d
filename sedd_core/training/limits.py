"""Checks of settings, by their range."""

from __future__ import annotations

from ..record.limits import LARGEST_SEED


def require(condition: bool, message: str) -> None:
    """Check a setting.

    Args:
        condition: Whether the setting is valid.
        message: Message of the error.

    Raises:
        ValueError: The condition is False.
    """
    if not condition:
        raise ValueError(message)


def check_seed(seed: int) -> None:
    """Check a random seed.

    Raises:
        ValueError: The seed is outside the range that torch supports.
    """
    require(0 <= seed < LARGEST_SEED, f"seed must lie between 0 and 2^63 - 1, not {seed}")


def check_at_least(least: int, **values: int | None) -> None:
    """Check that settings are not too small.

    Args:
        least: Smallest valid value.
        values: Settings by name; None passes.

    Raises:
        ValueError: A setting is smaller.
    """
    for name, value in values.items():
        require(value is None or value >= least, f"{name} must be at least {least}, not {value}")
