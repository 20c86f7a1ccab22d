"""Files of a sampling run: samples and trajectory."""

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
    """Write samples into the folder of a workspace.

    Args:
        workspace: Workspace of the run.
        format: "text" (one file per sample), "jsonl" (one object per sample) or "ids" (an array in samples.npy).
        tokens: Token ids [n, L].
        texts: Text of each sample.
        prompts: Prompt of each sample, as the user wrote it, or None.
        seed: Random seed of the run.
    """
    if format == "text":
        workspace.write_samples(texts)
    elif format == "ids":
        with writing(workspace.folder / "samples.npy") as temporary, temporary.open("wb") as file:
            np.save(file, tokens.numpy())
    else:
        objects = [
            {"index": index, "seed": seed, "prompt": prompt, "text": text, "tokens": ids}
            for index, (prompt, text, ids) in enumerate(zip(prompts, texts, tokens.tolist(), strict=True))
        ]
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in objects]
        write_text(workspace.folder / "samples.jsonl", "".join(lines))


def write_trajectory(folder: Path, trajectory: Trajectory, title: str) -> None:
    """Write a trajectory as data (.safetensors), as a web page (.html) and as an animated picture (.svg).

    Args:
        folder: Folder of the run.
        trajectory: States of all samples.
        title: Title of the page.
    """
    trajectory.save(folder / "trajectory.safetensors")
    write_text(folder / "trajectory.html", to_html(trajectory, title))
    write_text(folder / "trajectory.svg", to_svg(trajectory))
