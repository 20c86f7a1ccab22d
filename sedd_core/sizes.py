"""Bounds on what a record may ask for: a number in a file must not be able to hold a process for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

MOST_PARAMETERS = 10_000
"""Parameter tensors of a network: about 1,000 blocks, built on the meta device in a few seconds."""
MOST_TOKENS = 2**24
"""Tokens of a vocabulary, about 100 times those of the largest in use."""
MOST_LENGTH = 2**20
"""Tokens of a sequence that a model may state to be trained on."""


@contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Within: a network that is being built may have so many parameter tensors; ValueError at the next one."""
    found = count(1)

    def check(module: nn.Module, name: str, parameter: object) -> None:
        if next(found) > parameters:
            raise ValueError(f"it would have more than {parameters:,} parameter tensors")

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
