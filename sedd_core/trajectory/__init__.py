"""Sampling trajectories: recorded states, shown in the terminal, as an HTML page and as an SVG."""

from .html import to_html
from .recorder import Recorder, Trajectory
from .svg import to_svg
from .terminal import LiveView

__all__ = ["LiveView", "Recorder", "Trajectory", "to_html", "to_svg"]
