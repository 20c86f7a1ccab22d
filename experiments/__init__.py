"""Fiddle configs of complete runs."""
