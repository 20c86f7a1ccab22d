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


def quiet_transformers() -> Any:
    """`transformers`, likewise."""
    import transformers

    _quiet()
    return transformers


@cache
def ask(what: str) -> None:
    """Say once what is looked for: without a network it takes the hub's client half a minute to give up."""
    console.say(f"         looking for {what} on the Hugging Face hub, or in its cache here")


def _quiet() -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
