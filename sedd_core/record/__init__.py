"""A run as data: its record, the nodes in it, and its figures."""

from .figures import Figure
from .node import Node
from .record import Change, Record
from .recordable import open_classes, open_recordable, recordable, recordable_classes
from .upgrade import FORMAT

__all__ = [
    "FORMAT",
    "Change",
    "Figure",
    "Node",
    "Record",
    "open_classes",
    "open_recordable",
    "recordable",
    "recordable_classes",
]
