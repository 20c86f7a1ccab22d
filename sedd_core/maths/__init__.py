"""Draws, categorical laws, and forms that keep their digits."""
