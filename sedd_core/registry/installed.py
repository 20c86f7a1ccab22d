"""Installed plugins, found from metadata alone: neither plugins nor torch are imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import UserError, nearest
from .hookspecs import PROJECT
from .table import STAGES


@dataclass(frozen=True)
class Installed:
    """A plugin as described by the metadata of its distribution."""

    name: str
    """Name of the plugin, <stage>_<variant>."""
    distribution: str
    """Name of the distribution that provides the plugin."""
    version: str
    """Version of the distribution."""
    entry_point: metadata.EntryPoint
    """Entry point that loads the plugin's module."""


def installed() -> dict[str, list[Installed]]:
    """Installed plugins by name, without importing any; several under one name are a conflict (see `find_plugin`)."""
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
    """Installed variants of a stage, such as `["absorb", "uniform"]` for graph.

    Args:
        stage: Name of the stage.
    """
    return [name.removeprefix(f"{stage}_") for name in installed() if name.startswith(f"{stage}_")]


def stage_of(name: str) -> str:
    """The stage in a plugin's name, such as `graph` in `graph_absorb`.

    Args:
        name: Name of the plugin.

    Raises:
        UserError: The name does not have the form <stage>_<variant>.
    """
    stage, _, variant = name.partition("_")
    if stage not in STAGES or not variant:
        raise UserError(
            f"'{name}' is not a plugin name. Use <stage>_<variant> with one of the stages {', '.join(STAGES)}."
        )
    return stage


def find_plugin(name: str) -> Installed:
    """Find an installed plugin by its name.

    A distribution may give its plugin further names: entry points whose module has the plugin's own name.

    Args:
        name: Name of the plugin, <stage>_<variant>, or a further name of one.

    Raises:
        UserError: No distribution provides the plugin, or more than one does.
    """
    stage, everything = stage_of(name), installed()
    owners = everything.get(name, [])
    if len(owners) == 1:
        own = owners[0].entry_point.value
        return find_plugin(own) if own != name and own in everything else owners[0]
    if owners:
        both = " and ".join(sorted(owner.distribution for owner in owners))
        raise UserError(f"Two distributions provide the plugin '{name}': {both}. Uninstall one of them.")
    others = [other for other in everything if stage_of_or_none(other) == stage]
    hint = "".join(f" It exists here but is not installed: pip install -e {folder}" for folder in folders(name)[:1])
    raise UserError(
        f"There is no plugin '{name}'.{nearest(name, others)} Installed for the stage {stage}: "
        f"{', '.join(others) or 'none'}.{hint}"
    )


def folders(pattern: str) -> list[Path]:
    """Folders of plugins, installed or not: in ./plugins, or else beside this package.

    Args:
        pattern: Name of a plugin, or a glob pattern.
    """
    for root in (Path("plugins"), Path(__file__).parents[2] / "plugins"):
        if found := sorted(file.parent for file in root.glob(f"{pattern}/pyproject.toml")):
            return found
    return []


def stage_of_or_none(name: str) -> str | None:
    """The stage in a plugin's name; None if it is not a known stage."""
    stage = name.partition("_")[0]
    return stage if stage in STAGES else None
