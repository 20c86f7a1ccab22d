"""A chart of a results file: naive over ours for each case, with quartiles, and where they are equal.

python -m benchmarks.chart benchmarks/results/FILE.json docs/performance.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from sedd_core.files import write_text

RATIO = "naive / ours"
LEFT, WIDTH, LINE, TOP = 230, 440, 22, 58
"""Pixels: room for names, length of the longest bar, height of a line, and room for the title."""


def bars(results: dict[str, list[dict[str, Any]]]) -> list[tuple[str, float, float, float]]:
    """Name, median and quartiles of each ratio.

    Args:
        results: Measurements by case, as in a results file.
    """
    return [
        (f"{case}  {one['variant']}", one["median"], one["lower"], one["upper"])
        for case, found in results.items()
        for one in found
        if one["quantity"] == RATIO
    ]


def chart(content: dict[str, Any]) -> str:
    """The chart as SVG; lengths are proportional to the ratio.

    Args:
        content: Content of a results file.

    Raises:
        ValueError: It has no ratios.
    """
    rows = bars(content["results"])
    if not rows:
        raise ValueError(f"it has no {RATIO}")
    scale = WIDTH / max(upper for *_, upper in rows)
    height = TOP + LINE * len(rows) + 14
    machine = content["machine"]
    about = f"{machine['processor']}, {machine['cores']} cores, {content['date'][:10]}, {content['mode']} sizes"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 70}" height="{height}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold">{RATIO}: above 1 this framework is faster</text>',
        f'<text x="12" y="42" fill="#666">{escape(about)}</text>',
    ]
    for index, (name, median, lower, upper) in enumerate(rows):
        y = TOP + LINE * index
        middle = y + LINE / 2 - 2
        low, high = (LEFT + scale * value for value in (lower, upper))
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{scale * median:.1f}" height="{LINE - 8}" fill="#4c78a8"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222" stroke-width="2"/>',
            f'<text x="{high + 6:.1f}" y="{y + 14}">{median:.2f}</text>',
        ]
    equal = LEFT + scale
    parts.append(f'<path d="M{equal:.1f} {TOP - 4}V{height - 10}" stroke="#c00" stroke-dasharray="4 3"/></svg>')
    return "\n".join(parts) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Draw a results file. Returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m benchmarks.chart RESULTS.json CHART.svg", file=sys.stderr)
        return 1
    source, target = map(Path, arguments)
    try:
        write_text(target, chart(json.loads(source.read_text())))
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {source} is not a results file of python -m benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
