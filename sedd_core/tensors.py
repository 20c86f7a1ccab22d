"""Safe reading of tensors from safetensors files, whole or in shards, and from files written by torch.save.

Files of torch.save (.bin, .pt, .pth, .ckpt) are pickles, which can contain code. They are read with torch's
weights-only unpickler, which accepts tensors, numbers, strings and containers and executes no code, and are
memory-mapped, so that no storage extends beyond the file, even if the sizes in the file are wrong.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from .errors import UserError
from .files import check_readable

SAVED = (".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files written by torch.save."""
INDEX = ".safetensors.index.json"
"""Suffix of the index of a state dict in shards: a JSON object with `weight_map`, the file of each tensor."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict.

    Args:
        path: File of safetensors or torch.save, or the index of safetensors shards (model.safetensors.index.json);
            the suffix determines the format.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        UserError: A file is missing or damaged, or contains code or anything other than named tensors.
    """
    check_readable(path)
    if path.name.endswith(INDEX):
        return _read_shards(path, read_weights)
    if path.suffix in SAVED:
        stored = read_saved(path)
        if not isinstance(stored, dict) or not all(isinstance(name, str) for name in stored):
            raise UserError(f"{path} contains a {type(stored).__name__}, not a state dict (tensors by name).")
        invalid = next((name for name, value in stored.items() if not is_plain(value)), None)
        if invalid is not None:
            raise UserError(
                f"{path} contains a {type(stored[invalid]).__name__} as {invalid!r}; "
                "all values must be dense CPU tensors."
            )
        return dict(stored)
    try:
        return load_file(path)
    except Exception as error:  # damaged file: SafetensorError, or any error of torch for invalid sizes
        raise UserError(f"The weights in {path} cannot be read: {_line(error)}.") from error


def read_outline(path: Path) -> dict[str, Tensor]:
    """Read the names and shapes of a state dict: of safetensors, without the values.

    Args:
        path: File, as for `read_weights`.

    Returns:
        Tensors by name, on the meta device.

    Raises:
        UserError: As for `read_weights`, where that can be seen without the values.
    """
    check_readable(path)
    if path.name.endswith(INDEX):
        return _read_shards(path, read_outline)
    if path.suffix in SAVED:
        return {name: torch.empty_like(value, device="meta") for name, value in read_weights(path).items()}
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    except Exception as error:  # as in read_weights
        raise UserError(f"The weights in {path} cannot be read: {_line(error)}.") from error


def read_saved(path: Path, allow: Sequence[Any] = (), *, copy: bool = False) -> Any:
    """Read a file written by torch.save (torch 1.6 or newer) without executing code.

    Args:
        path: File to read.
        allow: Further classes and functions that the file may reference, as for `torch.serialization.safe_globals`.
        copy: Copy the tensors to memory; otherwise they are memory-mapped and read from the file on access.

    Returns:
        The content of the file, tensors on the CPU.

    Raises:
        UserError: The file is missing or damaged, or contains more than data.
    """
    check_readable(path)
    if not path.is_file():
        raise UserError(f"{path} is missing.")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allow)):
            warnings.simplefilter("ignore")  # about unusual pickle versions; the errors name them
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return deepcopy(content) if copy else content
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or _line(error)}.") from error
    except Exception as error:  # a damaged pickle can raise anything: KeyError, struct.error, MemoryError
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found:
            raise UserError(
                f"{path} contains more than data (it references {found[1]}) and was not executed: do not use this file."
            ) from error
        raise UserError(
            f"{path} is damaged, or was not written by torch.save (torch 1.6 or newer); no code in it was executed."
        ) from error


def is_plain(value: Any) -> bool:
    """Whether a value is a dense, unquantized tensor on the CPU (meta tensors are not)."""
    is_tensor = type(value) in (Tensor, torch.nn.Parameter)
    return is_tensor and value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized


def _read_shards(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read the tensors that an index lists, each from the shard that it names, which `read` reads."""
    owners = _weight_map(index)
    shards = sorted(set(owners.values()))
    for shard in shards:
        check_readable(index.with_name(shard))
    missing = [shard for shard in shards if not index.with_name(shard).is_file()]
    if missing:
        raise UserError(f"{index} lists {', '.join(missing)}, missing beside it. Copy all {len(shards)} shards there.")
    content = {shard: read(index.with_name(shard)) for shard in shards}
    for name, shard in owners.items():
        if name not in content[shard]:
            raise UserError(f"{index} lists {name!r} in {shard}, which does not contain it. Download both files anew.")
    return {name: content[shard][name] for name, shard in owners.items()}


def _weight_map(index: Path) -> dict[str, str]:
    """The shard of each tensor, by an index. UserError unless all shards are safetensors files beside the index."""
    try:
        owners = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(owners.values()))
    except OSError as error:
        raise UserError(f"{index} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is damaged: it has no 'weight_map' from tensors to files.") from error
    for shard in shards:
        if not isinstance(shard, str) or not re.fullmatch(r"[\w.-]+\.safetensors", shard):
            raise UserError(f"{index} lists {shard!r}, which is not the name of a safetensors file in its folder.")
    return owners


def _line(error: Exception) -> str:
    """The first line of an exception's message."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
