"""The table of an arena: checkpoints as rows, protocols as columns, and differences paired by sequences."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..record.figures import Figure, from_json


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A checkpoint under a protocol, on one set."""

    model: str
    """Checkpoint."""
    protocol: str
    """Name of the protocol."""
    set: str
    """Name of the set."""
    figure: Figure
    """The figure that is shown."""
    calls: int
    """Noise levels per sequence: network calls of the bound's integral."""
    precision: str
    """Precision of the network."""
    sha256: str
    """Hash of the set."""
    nats: Sequence[float]
    """Nats of each sequence."""
    tokens: Sequence[int]
    """Tokens of each sequence."""

    def __str__(self) -> str:
        return f"{self.figure} {self.figure.unit}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of two checkpoints under one protocol, on the same sequences with the same draws."""

    model: str
    minus: str
    protocol: str
    set: str
    nats_per_token: float
    standard_error: float


def read_cells(folder: Path, model: str, protocol: str) -> list[Cell]:
    """The cells of a finished evaluation, one per set.

    Args:
        folder: Run folder.
        model: Checkpoint.
        protocol: Name of the protocol.

    Raises:
        OSError, ValueError, KeyError: A file of the run is missing or damaged.
    """
    facts = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    evaluator = json.loads((folder / "config.json").read_text(encoding="utf-8"))["run"]["args"]["evaluator"]["args"]
    figures = [one for one in from_json((folder / "results.json").read_bytes()) if one.name == "bound"]
    cells = []
    for name in facts["sets"]:
        own = {figure.unit.partition(" given ")[0]: figure for figure in figures if figure.set == name}
        values = json.loads((folder / f"nats_{name.replace('/', '_')}.json").read_text(encoding="utf-8"))
        unit = "bits/character" if protocol == "text8" and "bits/character" in own else "perplexity"
        cells.append(
            Cell(
                model=model,
                protocol=protocol,
                set=name,
                figure=own[unit],
                calls=evaluator["points"] * evaluator["repeats"],
                precision=facts["precision"],
                sha256=facts["sets"][name]["sha256"],
                **values,
            )
        )
    return cells


def differences(cells: Sequence[Cell]) -> list[Difference]:
    """Each checkpoint minus the first one, under each protocol on each set that both have with the same hash."""
    found = []
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        other = first.setdefault((cell.protocol, cell.set, cell.sha256), cell)
        if other is cell or len(cell.nats) != len(other.nats) or len(cell.nats) < 2:
            continue
        each = torch.tensor(cell.nats, dtype=torch.float64) - torch.tensor(other.nats, dtype=torch.float64)
        tokens = torch.tensor(cell.tokens, dtype=torch.float64)
        mean = each.sum() / tokens.sum()
        error = (each - mean * tokens).std() * math.sqrt(len(each)) / tokens.sum()
        found.append(
            Difference(
                model=cell.model,
                minus=other.model,
                protocol=cell.protocol,
                set=cell.set,
                nats_per_token=mean.item(),
                standard_error=error.item(),
            )
        )
    return found


def _grid(cells: Sequence[Cell]) -> list[list[str]]:
    """Rows of the table with their head: a model per row, protocol and set per column."""
    columns = list(dict.fromkeys((cell.protocol, cell.set) for cell in cells))
    models = list(dict.fromkeys(cell.model for cell in cells))
    by_place = {(cell.model, cell.protocol, cell.set): str(cell) for cell in cells}
    head = ["model", *(f"{protocol}, {name}" for protocol, name in columns)]
    return [head, *([model, *(by_place.get((model, *column), "") for column in columns)] for model in models)]


def _notes(cells: Sequence[Cell]) -> list[list[str]]:
    head = ["model", "protocol", "set", "network calls per sequence", "precision", "sha256 of the set", "measured by"]
    rows = [
        [
            cell.model,
            cell.protocol,
            cell.set,
            str(cell.calls),
            cell.precision,
            cell.sha256[:16],
            cell.figure.protocol or "",
        ]
        for cell in cells
    ]
    return [head, *rows]


def _paired(cells: Sequence[Cell]) -> list[list[str]]:
    head = ["model", "minus", "protocol", "set", "nats/token"]
    rows = [
        [one.model, one.minus, one.protocol, one.set, f"{one.nats_per_token:.4f} ± {one.standard_error:.4f}"]
        for one in differences(cells)
    ]
    return [head, *rows]


def markdown(cells: Sequence[Cell]) -> str:
    """The arena in Markdown."""
    parts = []
    for title, rows in (
        ("Figures, ± one standard error", _grid(cells)),
        ("Paired differences", _paired(cells)),
        ("How", _notes(cells)),
    ):
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        parts += [f"## {title}", "", lines[0], "|" + " --- |" * len(rows[0]), *lines[1:], ""]
    return "\n".join(parts)


def latex(cells: Sequence[Cell]) -> str:
    """The figures of the arena as a LaTeX table."""
    rows = [[_escaped(cell) for cell in row] for row in _grid(cells)]
    lines = [" & ".join(row) + r" \\" for row in rows]
    frame = [
        rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        r"\hline",
        lines[0],
        r"\hline",
        *lines[1:],
        r"\hline",
    ]
    return "\n".join([*frame, r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, f"\\{character}")
    return text.replace("±", r"$\pm$")


def as_json(cells: Sequence[Cell]) -> str:
    """The arena as JSON: cells, without the values of sequences, and paired differences."""
    listed = [{key: value for key, value in asdict(cell).items() if key not in ("nats", "tokens")} for cell in cells]
    return json.dumps({"cells": listed, "differences": [asdict(one) for one in differences(cells)]}, indent=1) + "\n"
