"""The command line, and what experiments are written with: the only room of Fiddle and absl."""

from .config import stage

__all__ = ["stage"]
