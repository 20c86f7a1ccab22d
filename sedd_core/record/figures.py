"""The figures that a run reports: numbers with units and errors; text only where they are printed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """A number that a run reports.

    name: what it is, "bound". value: nan where there is none. unit: "nats/token". standard_error: in the same unit;
    None where none is known. set: the name of the sequences that it was measured on, and n: how many they are; None
    for figures of other things.
    """

    name: str
    value: float
    unit: str
    standard_error: float | None = None
    set: str | None = None
    n: int | None = None

    @property
    def title(self) -> str:
        """Name and unit, as the head of a column."""
        return f"{self.name} ({self.unit})"

    def __str__(self) -> str:
        if self.standard_error is None:
            return short(self.value)
        return f"{self.value:.4f} ± {self.standard_error:.4f}"


def short(value: float) -> str:
    """Four digits of a number; all before the point from 1000 to 1e15."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def finite(value: float | None) -> float | None:
    """The value, None where it is not finite: JSON has no such numbers."""
    return value if value is not None and math.isfinite(value) else None


def to_json(figures: Sequence[Figure]) -> str:
    """A list of objects; null for what is unknown or not finite."""
    rows = [
        {**asdict(figure), "value": finite(figure.value), "standard_error": finite(figure.standard_error)}
        for figure in figures
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: bytes) -> list[Figure]:
    """What `to_json` wrote; nan for a value of null.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: The text is anything else.
    """
    return [
        Figure(**{**row, "value": math.nan if row["value"] is None else float(row["value"])})
        for row in json.loads(text)
    ]
