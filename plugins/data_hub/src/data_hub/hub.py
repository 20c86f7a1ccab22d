"""Access to the Hugging Face hub; its libraries take seconds to import and are loaded only when data is read."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Any

from sedd_core import console


def quiet_datasets() -> Any:
    """Import `datasets` without messages about retries, and with progress bars only on a terminal."""
    import datasets

    _quiet()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return datasets


def is_unreachable(error: BaseException) -> bool:
    """Whether an exception of the hub's clients, or its cause, is due to a missing connection or offline mode.

    Args:
        error: Exception to check.
    """
    names = {cls.__name__ for cls in type(error).__mro__}  # by name: the clients change their HTTP library
    if names & {"ConnectionError", "TimeoutError", "TransportError", "LocalEntryNotFoundError"}:
        return True
    return error.__cause__ is not None and is_unreachable(error.__cause__)


def summary(error: Exception) -> str:
    """Type of an exception and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"


@cache
def announce(what: str) -> None:
    """Print once what is looked up: without a network, the hub's client takes half a minute to give up.

    Args:
        what: Name of the data set.
    """
    console.say(f"         looking for {what} on the Hugging Face hub, or in its local cache")


def _quiet() -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
