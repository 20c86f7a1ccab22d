"""Faults planted in the source of a function, to show that a test finds them."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from pkgutil import resolve_name

import pytest

Plant = tuple[str, str, str, Callable[[int], None]]
"""A function ("module:name"), a part of its source, what stands there instead, and the test that finds it, of a seed."""


def check_found(planted: Plant, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test passes, and fails once the fault is planted."""
    function, old, new, test = planted
    test(seed)
    plant(monkeypatch, function, old, new)
    with pytest.raises(AssertionError):
        test(seed)


def plant(monkeypatch: pytest.MonkeyPatch, where: str, old: str, new: str) -> None:
    """Change a function ("module:name") in a part of its source that occurs once, for all who have imported it."""
    function = inspect.unwrap(resolve_name(where))
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{where} contains {old!r} {source.count(old)} times: plant the fault anew"
    namespace = dict(vars(sys.modules[function.__module__]))
    exec("from __future__ import annotations\n" + source.replace(old, new), namespace)
    monkeypatch.setattr(function, "__code__", inspect.unwrap(namespace[function.__name__]).__code__)
