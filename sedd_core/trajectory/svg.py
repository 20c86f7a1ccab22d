"""Denoising of a sample as a self-contained animated SVG, for READMEs and papers.

Each position is drawn where its token in the result is drawn; earlier tokens are cut to that width. Animations are
CSS and loop; where they do not run (print, converters, reduced motion), the result is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from jaxtyping import Int32
from rich.cells import cell_len, set_cell_size
from torch import Tensor

from ..errors import UserError
from .layout import NEWLINE, Box, layout
from .recorder import Trajectory
from .style import AGES, COLORS, MASK, PAPER, token_texts

CELL, LINE, MARGIN, SIZE = 8.4, 22, 20, 14  # pixels: width of a character, height of a line, margin, font size
HOLD = 2.5  # seconds for which the result is shown


def to_svg(
    trajectory: Trajectory, sample: int = 0, *, frames: int = 40, columns: int = 72, seconds: float = 8.0
) -> str:
    """Render one sample of a trajectory as an animated SVG.

    Args:
        trajectory: Trajectory to show.
        sample: Index of the sample.
        frames: Maximum number of frames.
        columns: Characters per line.
        seconds: Duration of the animation in seconds, without the time for which the result is shown.

    Raises:
        UserError: The trajectory has no such sample.
    """
    count = trajectory.states.shape[1]
    if not 0 <= sample < count:
        raise UserError(f"There is no sample {sample} in this trajectory: it has 0 to {count - 1}.")
    thin = trajectory.thinned(frames)
    states = thin.states[:, sample]
    texts = token_texts(thin.codec, states.flatten().tolist(), thin.mask)
    boxes = layout([texts[token] or MASK for token in states[-1].tolist()], columns)
    clock = Clock(len(states), seconds)
    groups: dict[Group, list[str]] = defaultdict(list)
    for run in _runs(states):
        kind = _kind(run, bool(thin.given[sample, run.position]), thin.mask)
        groups[Group(kind, run.start, run.end)] += _elements(run, kind, texts[run.token], boxes[run.position], clock)
    lines = 1 + max((box.line for token_boxes in boxes for box in token_boxes if box.text), default=0)
    return _document(round(columns * CELL) + 2 * MARGIN, lines * LINE + 2 * MARGIN, clock, groups)


class Run(NamedTuple):
    """A token that occupies a position from frame `start` up to, not including, frame `end`."""

    position: int
    token: int
    start: int
    end: int


class Group(NamedTuple):
    """Key of elements that are visible at the same frames; kind is given, mask, prior or age."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Clock:
    """Timing of the loop: `frames` in `seconds`, then HOLD seconds of the last frame."""

    frames: int
    seconds: float

    @property
    def loop(self) -> float:
        """Duration of the loop in seconds."""
        return self.seconds + HOLD

    def at(self, frame: int) -> float:
        """Start of a frame in seconds."""
        return frame * self.seconds / self.frames

    def percent(self, frame: int) -> str:
        """Start of a frame as a percentage of the loop."""
        return f"{100 * self.at(frame) / self.loop:.4g}%"


def _runs(states: Int32[Tensor, "F L"]) -> Iterator[Run]:
    for position, tokens in enumerate(states.T.tolist()):
        start = 0
        for frame in range(1, len(tokens) + 1):
            if frame == len(tokens) or tokens[frame] != tokens[start]:
                yield Run(position, tokens[start], start, frame)
                start = frame


def _kind(run: Run, given: bool, mask: int | None) -> str:
    if given:
        return "given"
    if run.token == mask:
        return "mask"
    return "prior" if run.start == 0 else "age"


def _elements(run: Run, kind: str, text: str, boxes: list[Box], clock: Clock) -> list[str]:
    """Elements of a run: bars for a mask, the texts of the boxes in the result, else a text cut to the first box."""
    if kind == "mask":
        return [_bar(box) for box in boxes if box.text]
    if run.end == clock.frames:
        return [_text(box, box.text) for box in boxes if box.text]
    bare, width = text.replace("\n", NEWLINE).lstrip(" "), cell_len(boxes[0].text)
    cut = bare if cell_len(bare) <= width else set_cell_size(bare, width)
    return [_text(boxes[0], cut)] if cut else []


def _bar(box: Box) -> str:
    x, y = MARGIN + box.column * CELL + 1, MARGIN + box.line * LINE + LINE / 2
    return f"M{x:.1f} {y:.0f}h{cell_len(box.text) * CELL - 2:.1f}"


def _text(box: Box, text: str) -> str:
    x, y = MARGIN + box.column * CELL, MARGIN + box.line * LINE + LINE / 2 + SIZE * 0.35
    return f'<text x="{x:.1f}" y="{y:.0f}">{escape(text, quote=False)}</text>'


def _document(width: int, height: int, clock: Clock, groups: dict[Group, list[str]]) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" aria-label="Denoising of a text">',
        f"<style>\n{_style(clock, groups)}\n</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
        f'<rect class="bar" y="{height - 3}" width="{width}" height="3"/>',
    ]
    for (kind, start, end), elements in groups.items():
        drawn = f'<path d="{"".join(elements)}"/>' if kind == "mask" else "".join(elements)
        parts.append(f'<g class="f{start}-{end}"><g class="{kind} a{start}">{drawn}</g></g>')
    return "\n".join([*parts, "</svg>\n"])


def _style(clock: Clock, groups: Iterable[Group]) -> str:
    """CSS: colors, the visibility of each group, and the aging of changed tokens."""
    light, dark = ("".join(f"--{k}:{pair[i]};" for k, pair in {"paper": PAPER, **COLORS}.items()) for i in (0, 1))
    ages = [(age, f"{{fill:var(--age{i})}}") for i, age in enumerate(AGES) if clock.at(age) < clock.loop]
    spans = sorted({(group.start, group.end) for group in groups})
    starts = sorted({group.start for group in groups if group.kind == "age"})
    return "\n".join(
        [
            f":root{{{light}}}",
            f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}",
            f'text{{font:{SIZE}px "DejaVu Sans Mono",Menlo,"Liberation Mono",monospace;white-space:pre}}',
            f".mask path{{stroke:var(--mask);stroke-width:{SIZE - 3}}}",
            ".paper{fill:var(--paper)} .prior{fill:var(--prior)} .age{fill:var(--age5)}",
            ".given{fill:var(--given);text-decoration:underline}",
            f".bar{{fill:var(--mask);animation:bar {clock.loop:g}s linear infinite}}",
            f"@keyframes bar{{0%{{transform:scaleX(0)}}{clock.percent(clock.frames)},to{{transform:scaleX(1)}}}}",
            "@keyframes age{" + "".join(f"{clock.percent(age)}{fill}" for age, fill in ages) + "to{fill:var(--age5)}}",
            *(
                f".age.a{i}{{animation:age {clock.loop:g}s linear {clock.at(i) - clock.loop:.3f}s infinite}}"
                for i in starts
            ),
            *(_seen(start, end, clock) for start, end in spans if (start, end) != (0, clock.frames)),
            "@media (prefers-reduced-motion:reduce){*{animation:none!important}}",
        ]
    )


def _seen(start: int, end: int, clock: Clock) -> str:
    """CSS that shows a group from its start to its end; without animation, only groups of the result are shown."""
    name, in_result = f"f{start}-{end}", end == clock.frames
    points = [
        ("0%", int(start == 0)),
        (clock.percent(start), 1),
        ("to" if in_result else clock.percent(end), int(in_result)),
    ]
    frames = "".join(f"{when}{{opacity:{opacity}}}" for when, opacity in points)
    return (
        f"@keyframes {name}{{{frames}}}"
        f".{name}{{opacity:{int(in_result)};animation:{name} {clock.loop:g}s step-end infinite}}"
    )
