"""What a sampling run leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from ..build.workspace import Workspace
from ..files import write_text, writing
from ..trajectory import Trajectory, to_html, to_svg

Format = Literal["text", "jsonl", "ids"]


def write_samples(
    workspace: Workspace,
    format: Format,
    tokens: Int64[Tensor, "n L"],
    texts: Sequence[str],
    prompts: Sequence[str | None],
    seed: int,
) -> None:
    """Samples as texts, a file each; as lines of JSON with all that is known of each; or as a table of token ids.

    prompts: of each sample, as it was written; None where there is none. seed: of all of them.
    """
    if format == "text":
        workspace.write_samples(texts)
    elif format == "ids":
        with writing(workspace.folder / "samples.npy") as temporary, temporary.open("wb") as file:
            np.save(file, tokens.numpy())
    else:
        rows = [
            {"index": index, "seed": seed, "prompt": prompt, "text": text, "tokens": row}
            for index, (prompt, text, row) in enumerate(zip(prompts, texts, tokens.tolist(), strict=True))
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_text(workspace.folder / "samples.jsonl", "".join(lines))


def write_trajectory(folder: Path, trajectory: Trajectory, title: str) -> None:
    """A trajectory as data, as a page and as a picture."""
    trajectory.save(folder / "trajectory.safetensors")
    write_text(folder / "trajectory.html", to_html(trajectory, title))
    write_text(folder / "trajectory.svg", to_svg(trajectory))
