"""Figures that a run reports: numbers with units and standard errors, formatted only for printing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """A number that a run reports."""

    name: str
    """Name of the quantity, such as "bound"."""
    value: float
    """Value in the unit; nan if there is none."""
    unit: str
    """Unit of the value, such as "nats/token"."""
    standard_error: float | None = None
    """Standard error in the same unit; None if unknown."""
    set: str | None = None
    """Name of the sequences that the figure was measured on; None if it is not measured on sequences."""
    n: int | None = None
    """Number of these sequences; None if the figure is not measured on sequences."""
    protocol: str | None = None
    """Description of the measurement, such as "16 noise levels per sequence"; None if there is nothing to add."""
    draws_error: float | None = None
    """Part of the standard error that is due to random draws, on these sequences; None if unknown."""

    @property
    def title(self) -> str:
        """Name and unit, as a column title."""
        return f"{self.name} ({self.unit})"

    def __str__(self) -> str:
        if self.standard_error is None:
            return short(self.value)
        return f"{self.value:.4f} ± {self.standard_error:.4f}"


def short(value: float) -> str:
    """Format a number with four significant digits, or as an integer from 1000 to 1e15."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def finite(value: float | None) -> float | None:
    """The value, or None if it is not finite: JSON has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None


def to_json(figures: Sequence[Figure]) -> str:
    """Figures as a JSON list of objects; null for values that are unknown or not finite."""
    objects = [
        {
            **asdict(figure),
            "value": finite(figure.value),
            "standard_error": finite(figure.standard_error),
            "draws_error": finite(figure.draws_error),
        }
        for figure in figures
    ]
    return json.dumps(objects, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: bytes) -> list[Figure]:
    """Parse the output of `to_json`; a value of null becomes nan.

    Args:
        text: JSON text.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: The text is not a JSON list of figures.
    """
    return [
        Figure(**{**entry, "value": math.nan if entry["value"] is None else float(entry["value"])})
        for entry in json.loads(text)
    ]
