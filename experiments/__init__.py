"""Experiments: Fiddle configs of complete runs."""
