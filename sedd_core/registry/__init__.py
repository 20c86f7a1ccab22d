"""The stages, their hooks, and the plugins that are installed."""
