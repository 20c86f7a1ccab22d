"""What code reads: files, folders and addresses."""

from __future__ import annotations

import builtins
import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

READERS: tuple[tuple[ModuleType | type, str], ...] = (
    *((builtins, "open"), (io, "open"), (os, "open"), (os, "listdir"), (os, "scandir")),
    (socket.socket, "connect"),
)


@contextmanager
def recorded_reads() -> Iterator[list[str]]:
    """Record the files, folders and addresses that Python code opens meanwhile; imports are not recorded.

    Yields:
        Their names, in order.
    """
    opened: list[str] = []

    def recording(function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any, **keywords: Any) -> Any:
            opened.append(" ".join(map(str, (*arguments, *keywords.values()))))
            return function(*arguments, **keywords)

        return recorded

    with ExitStack() as stack:
        for owner, name in READERS:
            stack.enter_context(patch.object(owner, name, recording(getattr(owner, name))))
        yield opened
