"""Which plugins are installed: names from metadata alone, without importing any, nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import UserError, nearest
from .hookspecs import PROJECT
from .table import STAGES


@dataclass(frozen=True)
class Installed:
    """A plugin as the metadata of its distribution tells of it."""

    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint


def installed() -> dict[str, list[Installed]]:
    """Every installed plugin by name, without importing any; two under one name are a clash (see `find_plugin`)."""
    found: dict[str, list[Installed]] = {}
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if point.group == PROJECT:
                entry = Installed(point.name, distribution.metadata["Name"], distribution.version, point)
                same = found.setdefault(point.name, [])
                if entry.distribution not in [other.distribution for other in same]:
                    same.append(entry)
    return dict(sorted(found.items()))


def variants(stage: str) -> list[str]:
    """The installed variants of a stage, without the stage's name: `["absorb", "uniform"]`."""
    return [name.removeprefix(f"{stage}_") for name in installed() if name.startswith(f"{stage}_")]


def stage_of(name: str) -> str:
    """The stage in a plugin's name; `graph` of `graph_absorb`."""
    stage, _, variant = name.partition("_")
    if stage not in STAGES or not variant:
        raise UserError(f"'{name}' is not a plugin's name: <stage>_<variant>, the stages being {', '.join(STAGES)}.")
    return stage


def find_plugin(name: str) -> Installed:
    """The one installed plugin of this name. UserError when there is none, or more than one."""
    stage, everything = stage_of(name), installed()
    owners = everything.get(name, [])
    if len(owners) == 1:
        return owners[0]
    if owners:
        both = " and ".join(sorted(owner.distribution for owner in owners))
        raise UserError(f"Two distributions provide the plugin '{name}': {both}. Uninstall one of them.")
    others = [other for other in everything if stage_of_or_none(other) == stage]
    here = "".join(f" It is here but not installed: pip install -e {folder}" for folder in folders(name)[:1])
    raise UserError(
        f"There is no plugin '{name}'.{nearest(name, others)} Installed for the stage {stage}: "
        f"{', '.join(others) or 'none'}.{here}"
    )


def folders(pattern: str) -> list[Path]:
    """Folders of plugins, installed or not, by name or pattern: below plugins/ here, else beside this package."""
    for root in (Path("plugins"), Path(__file__).parents[2] / "plugins"):
        if found := sorted(file.parent for file in root.glob(f"{pattern}/pyproject.toml")):
            return found
    return []


def stage_of_or_none(name: str) -> str | None:
    """Like `stage_of`, None for a name of no stage."""
    stage = name.partition("_")[0]
    return stage if stage in STAGES else None
