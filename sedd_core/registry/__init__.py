"""Stages, their hooks, and the installed plugins."""
