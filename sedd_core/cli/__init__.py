"""The command line, and what experiments are written with: the only room of Fiddle and absl."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import stage

__all__ = ["stage"]


def __getattr__(name: str) -> object:  # `stage` costs the import of Fiddle, which --help does not need
    if name == "stage":
        from .config import stage

        return stage
    raise AttributeError(f"module 'sedd_core.cli' has no attribute '{name}'")
