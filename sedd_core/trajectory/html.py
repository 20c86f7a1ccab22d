"""A trajectory as one self-contained HTML file: the template page.html with data and colors filled in."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int32
from torch import Tensor

from .recorder import Trajectory
from .style import AGES, COLORS, PAPER, token_texts

FRAMES = 200


def to_html(trajectory: Trajectory, title: str) -> str:
    """Render a trajectory as an HTML page: a slider over time, tokens colored by age, counts per step.

    `#frame=40` and `#sample=1` in the page's address select the initial frame and sample.

    Args:
        trajectory: Trajectory to show; at most 200 of its frames are kept.
        title: Title of the page.
    """
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    parts = {"title": escape(title), "light": _colors(0), "dark": _colors(1), "data": _data(trajectory)}
    return re.sub(r"\{\{(\w+)\}\}", lambda name: parts[name[1]], template)


def _colors(scheme: int) -> str:
    colors = {"paper": PAPER, **COLORS}
    return " ".join(f"--{kind}: {pair[scheme]};" for kind, pair in colors.items())


def _data(trajectory: Trajectory) -> str:
    """JSON without any `<`, so that no text in it can end its script element.

    Tokens are renumbered in the order of the ids that occur.
    """
    thin = trajectory.thinned(FRAMES)
    used, numbered = torch.unique(thin.states, return_inverse=True)
    texts = token_texts(thin.codec, used.tolist(), thin.mask)
    data = {
        "texts": [texts[token] for token in used.tolist()],
        "mask": used.tolist().index(thin.mask) if thin.mask in used.tolist() else None,
        "ages": AGES,
        "steps": thin.steps.tolist(),
        "times": [round(time, 6) for time in thin.times.tolist()],
        "samples": [_sample(numbered[:, i].int(), thin.given[i]) for i in range(numbered.shape[1])],
    }
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _sample(states: Int32[Tensor, "F L"], given: Bool[Tensor, " L"]) -> dict[str, Any]:
    """The first state, and the changes of each later frame: position, token, position, token, ..."""
    changed = states[1:] != states[:-1]
    changes = [
        torch.stack([positions.nonzero()[:, 0], state[positions]], -1).flatten().tolist()
        for positions, state in zip(changed, states[1:].long(), strict=True)
    ]
    return {"first": states[0].tolist(), "given": given.nonzero()[:, 0].tolist(), "changes": changes}
