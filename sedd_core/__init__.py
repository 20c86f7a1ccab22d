"""Score Entropy Discrete Diffusion as a plugin framework: contracts, plugins, and the runs that compose them."""

from typing import TYPE_CHECKING

from .errors import UserError
from .registry.hookspecs import hookimpl

if TYPE_CHECKING:
    from .checkpoints.load import load_model
    from .registry.plugins import plugin
    from .runs.loaded import load

__version__ = "0.2.0"
__all__ = ["UserError", "hookimpl", "load", "load_model", "plugin"]


def __getattr__(name: str) -> object:  # deferred: --help does not need torch, which these import
    if name == "load_model":
        from .checkpoints.load import load_model

        return load_model
    if name == "load":
        from .runs.loaded import load

        return load
    if name == "plugin":
        from .registry.plugins import plugin

        return plugin
    raise AttributeError(f"module 'sedd_core' has no attribute '{name}'")
