"""The core's own classes that a record may name: they say so themselves, by a decorator."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", bound=type)
_classes: dict[str, type] = {}
_open: list[type] = []


def recordable(cls: T) -> T:
    """A class decorator: records may name this class, which is the core's own."""
    _classes[cls.__name__] = cls
    return cls


def open_recordable(cls: T) -> T:
    """Like `recordable`; subclasses in an experiment's file may be recorded too (see `trust`)."""
    _open.append(cls)
    return recordable(cls)


def recordable_classes() -> dict[str, type]:
    """The classes that records may name, of those that have been imported, by name."""
    return dict(_classes)


def open_classes() -> tuple[type, ...]:
    """Those of which subclasses may be recorded too."""
    return tuple(_open)
