"""Hooks, one per stage: `sedd_<stage>()` takes no arguments and returns the class of a plugin of that stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pluggy

from .table import STAGES, Stage

PROJECT = "sedd"
"""Group of the entry points, and prefix of the hook names."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def hook_of(stage: str) -> str:
    """Name of a stage's hook."""
    return f"{PROJECT}_{stage}"


def specifications() -> Any:
    """Hook specifications as a namespace of functions, for `pluggy.PluginManager.add_hookspecs`."""
    return SimpleNamespace(**{hook_of(name): _specification(name, stage) for name, stage in STAGES.items()})


def _specification(name: str, stage: Stage) -> Any:
    def hook() -> Any:
        return None

    hook.__name__ = hook_of(name)
    hook.__doc__ = f"The class of a {stage.about}; the plugin's name is `{name}_<variant>`."
    return hookspec(hook)
