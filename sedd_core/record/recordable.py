"""Decorators that mark the classes of the core that records may name."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", bound=type)
_classes: dict[str, type] = {}
_open: list[type] = []


def recordable(cls: T) -> T:
    """Class decorator for classes of the core that records may name."""
    _classes[cls.__name__] = cls
    return cls


def open_recordable(cls: T) -> T:
    """Class decorator like `recordable` that also allows subclasses in an experiment's file (see `trust`)."""
    _open.append(cls)
    return recordable(cls)


def recordable_classes() -> dict[str, type]:
    """Imported classes that records may name, by name."""
    return dict(_classes)


def open_classes() -> tuple[type, ...]:
    """Classes whose subclasses in an experiment's file may be recorded too."""
    return tuple(_open)
