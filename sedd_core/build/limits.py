"""Limit on the size of networks, enforced during construction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


@contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Context that limits the number of parameter tensors registered in it.

    Args:
        parameters: Maximum number of parameter tensors.

    Raises:
        ValueError: A network has more of them.
    """
    found = count(1)

    def check(module: nn.Module, name: str, parameter: object) -> None:
        if next(found) > parameters:
            raise ValueError(f"it would have more than {parameters:,} parameter tensors")

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
