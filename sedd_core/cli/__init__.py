"""The command line, and what experiments are written with: the only room of Fiddle and absl."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import stage
    from .experiment import trust_files

__all__ = ["stage", "trust_files"]


def __getattr__(name: str) -> object:  # these cost the import of Fiddle, which --help does not need
    if name == "stage":
        from .config import stage

        return stage
    if name == "trust_files":
        from .experiment import trust_files

        return trust_files
    raise AttributeError(f"module 'sedd_core.cli' has no attribute '{name}'")
