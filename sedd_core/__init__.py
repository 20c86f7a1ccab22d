"""SEDD as a framework: contracts, plugins, and the runs that compose them."""

from typing import TYPE_CHECKING

from .errors import UserError
from .hookspecs import hookimpl
from .plugins import plugin

if TYPE_CHECKING:
    from .checkpoint import load_model

__version__ = "0.1.0"
__all__ = ["UserError", "hookimpl", "load_model", "plugin"]


def __getattr__(name: str) -> object:  # `load_model` costs imports that a plugin does not need
    if name == "load_model":
        from .checkpoint import load_model

        return load_model
    raise AttributeError(f"module 'sedd_core' has no attribute '{name}'")
