"""The command line, and the functions that experiments use: the only room that imports Fiddle and absl."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import stage
    from .experiment import trust_files

__all__ = ["stage", "trust_files"]


def __getattr__(name: str) -> object:  # deferred: --help does not need Fiddle, which these import
    if name == "stage":
        from .config import stage

        return stage
    if name == "trust_files":
        from .experiment import trust_files

        return trust_files
    raise AttributeError(f"module 'sedd_core.cli' has no attribute '{name}'")
