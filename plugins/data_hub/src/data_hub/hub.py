"""The libraries that talk to the Hugging Face hub: imported where a run reads data, for they take seconds."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Any

from sedd_core import console


def quiet_datasets() -> Any:
    """`datasets`, without the hub's words on retries (what fails is said once, by us), its progress for terminals."""
    import datasets

    _quiet()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return datasets


def is_unreachable(error: BaseException) -> bool:
    """Whether an exception of the hub's clients, or its cause, says that there is no connection (or offline mode)."""
    names = {cls.__name__ for cls in type(error).__mro__}  # by name: the clients change the library that they call
    if names & {"ConnectionError", "TimeoutError", "TransportError", "LocalEntryNotFoundError"}:
        return True
    return error.__cause__ is not None and is_unreachable(error.__cause__)


def said(error: Exception) -> str:
    """The first line of what an exception says, with its type."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"


@cache
def ask(what: str) -> None:
    """Say once what is looked for: without a network it takes the hub's client half a minute to give up."""
    console.say(f"         looking for {what} on the Hugging Face hub, or in its cache here")


def _quiet() -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
