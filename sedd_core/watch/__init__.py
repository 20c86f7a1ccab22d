"""Seeing a sample come about: recorded states, shown in the terminal, as a web page and as a picture."""

from .page import html
from .picture import svg
from .terminal import LiveView
from .trajectory import Recorder, Trajectory

__all__ = ["LiveView", "Recorder", "Trajectory", "html", "svg"]
