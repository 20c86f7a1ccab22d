"""Sampling: time grids, conditioning on fixed tokens, prompts, blocks, and the sampling loop."""

from .sample import sample

__all__ = ["sample"]
