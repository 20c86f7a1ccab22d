"""Sampling: time grids, conditioning on fixed tokens, prompts, and the sampling loop."""
