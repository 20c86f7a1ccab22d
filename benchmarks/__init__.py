"""Benchmarks of this framework against a naive implementation with the passes of the original SEDD."""
