"""Figures of a model: the likelihood bound, references."""
