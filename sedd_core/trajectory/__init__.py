"""The trajectory of a sample: recorded states, shown in the terminal, as a web page and as a picture."""

from .html import to_html
from .recorder import Recorder, Trajectory
from .svg import to_svg
from .terminal import LiveView

__all__ = ["LiveView", "Recorder", "Trajectory", "to_html", "to_svg"]
