"""Tensors from files, as data alone: safetensors, and what torch.save wrote, of which nothing is ever run.

A file of torch.save's (.bin, .pt, .pth, .ckpt) is a pickle, which can hold code. It is read by torch's weights-only
reader, which knows tensors, numbers, texts and containers, and mapped from the disk: its storages cannot lie outside
of the file, whatever sizes it states.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..files import check_readable

SAVED = (".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files that torch.save writes."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a .safetensors file or from a state dict that torch.save wrote.

    Args:
        path: The file; its suffix tells its format.

    Raises:
        UserError: The file is missing, damaged, holds code, or anything but tensors by name.
    """
    check_readable(path)
    if path.suffix in SAVED:
        stored = read_saved(path)
        if not isinstance(stored, dict) or not all(isinstance(name, str) for name in stored):
            raise UserError(f"{path} holds a {type(stored).__name__}, not a state dict: tensors by name are needed.")
        odd = next((name for name, value in stored.items() if not is_plain(value)), None)
        if odd is not None:
            raise UserError(f"{path} holds a {type(stored[odd]).__name__} as {odd!r}; all must be plain tensors.")
        return dict(stored)
    try:
        return load_file(path)
    except Exception as error:  # of damaged files: SafetensorError, and whatever torch makes of their sizes
        raise UserError(f"The weights in {path} cannot be read: {_line(error)}.") from error


def read_saved(path: Path, allow: Sequence[Any] = (), *, copy: bool = False) -> Any:
    """The content of a file of torch.save's (torch 1.6 or newer), on the CPU; nothing in it is run.

    Args:
        path: The file.
        allow: Further classes and functions that it may name, as `torch.serialization.safe_globals` takes them.
        copy: Give the tensors memory of their own. Without it they are read from the file as they are looked at.

    Raises:
        UserError: The file is missing, damaged, or holds more than data.
    """
    check_readable(path)
    if not path.is_file():
        raise UserError(f"{path} is missing.")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allow)):
            warnings.simplefilter("ignore")  # of odd versions of pickle, which the errors name
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return deepcopy(content) if copy else content
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or _line(error)}.") from error
    except Exception as error:  # a damaged program of pickle's fails in any way: KeyError, struct.error, MemoryError
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found:
            raise UserError(
                f"{path} holds more than data (it names {found[1]}), and was not run: leave it alone."
            ) from error
        raise UserError(
            f"{path} is damaged, or was not written by torch.save (1.6 or newer); nothing in it was run."
        ) from error


def is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor with numbers in it: neither sparse, quantized, nor a shape alone."""
    kind = type(value) in (Tensor, torch.nn.Parameter)
    return kind and value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized


def _line(error: Exception) -> str:
    """The first line of what an exception says."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
