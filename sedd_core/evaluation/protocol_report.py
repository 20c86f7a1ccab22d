"""What a protocol says beside the figures that were measured under it."""

from __future__ import annotations

from collections.abc import Sequence

from ..console import rule, say, table
from ..record.figures import Figure
from ..stages import Sequences
from .facts import SetFacts, facts_of
from .protocol import Protocol


def report_protocol(protocol: Protocol, name: str, sequences: Sequences, figures: Sequence[Figure]) -> str:
    """Print what was measured under which protocol, and the published figures of the set with their sources.

    Args:
        protocol: The protocol.
        name: Name of the set.
        sequences: The set.
        figures: Figures of the set.

    Returns:
        The printed text, for validation.txt.
    """
    lines = [
        f"protocol {protocol.title}: {protocol.about} ({protocol.source}); published precision: {protocol.precision}",
        _compared(protocol, name, facts_of(sequences)),
        *_unverified(protocol),
    ]
    published = [one for one in protocol.published if one.set == name]
    measured = {figure.unit: str(figure) for figure in figures if figure.set == name}
    rows = [
        ["this run", unit, value, ""] for unit, value in measured.items() if unit in {one.unit for one in published}
    ]
    rows += [[one.model, one.unit, f"{one.value:g}", one.source] for one in published]
    rule(f"protocol: {protocol.title}, {name}")
    for line in lines:
        say(line)
    if rows:
        table("model", "unit", "value", "source", rows=rows)
    else:
        say(f"published figures of {name}: none known")
    return "\n".join([*lines, *("\t".join(row) for row in rows), ""])


def _compared(protocol: Protocol, name: str, facts: SetFacts) -> str:
    """The set's facts against those that the protocol states."""
    stated = protocol.sets.get(name)
    if stated is None:
        verdict = "unverified: the protocol states no hash of this set"
    elif stated.get("sha256") == facts.sha256:
        verdict = f"as in {stated.get('source', 'the protocol')}"
    else:
        verdict = f"NOT the set of {stated.get('source', 'the protocol')} ({stated.get('tokens')} tokens)"
    return f"set {name}: {facts}; {verdict}"


def _unverified(protocol: Protocol) -> list[str]:
    """A line on the settings whose source is not verified."""
    settings = [
        f"{part}.{key}"
        for part in ("data", "evaluator")
        for key in getattr(protocol, part)
        if "unverified" in (protocol.source_of(part, key) or "")
    ]
    return [f"unverified settings of the protocol: {', '.join(settings)}"] if settings else []
