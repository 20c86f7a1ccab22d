"""Mutations of files: bytes, JSON, YAML, safetensors headers, and members of torch.save's zip archives."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e12, float("nan")),
    *(float("inf"), "", "16", "x" * 300, "\x00", "\ud800", "../..", [], [[]], {}, {"type": "Replace"}, [None] * 50),
)
"""Unexpected values, to replace others with."""


def mutate(path: Path, draw: random.Random) -> str:
    """Mutate a file in place.

    Args:
        path: File to mutate.
        draw: Source of randomness.

    Returns:
        The name of the mutation.
    """
    structured = {".json": _json, ".yaml": _yaml, ".safetensors": _header}
    special = structured.get(path.suffix, _members if zipfile.is_zipfile(path) else _bytes)
    try:
        return (special if draw.random() < 0.7 else _bytes)(path, draw)
    except Exception:  # an earlier mutation has destroyed the file's format
        return _bytes(path, draw)


def _bytes(path: Path, draw: random.Random) -> str:
    content, name = flipped(path.read_bytes(), draw)
    path.write_bytes(content)
    return name


def flipped(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Mutate bytes as disks and networks do. Returns the bytes and the name of the mutation."""
    data, name = bytearray(content), draw.choice(["flip", "truncate", "insert", "remove", "zero", "repeat"])
    at = draw.randrange(len(data) + 1) if draw.random() < 0.6 else draw.randrange(min(len(data), 400) + 1)
    size = draw.choice([1, 2, 7, 64, 4096])
    if name == "flip":
        for _ in range(draw.choice([1, 1, 3, 30]) if data else 0):
            data[min(at + draw.randrange(size), len(data) - 1)] ^= 1 << draw.randrange(8)
    elif name == "truncate":
        del data[at:]
    elif name == "insert":
        data[at:at] = draw.randbytes(size)
    elif name == "remove":
        del data[at : at + size]
    elif name == "zero":
        data[at : at + size] = bytes(len(data[at : at + size]))
    else:
        data[at:at] = data[at : at + size] * draw.choice([1, 50])
    return bytes(data), name


def edited(content: Any, draw: random.Random) -> tuple[Any, str]:
    """Mutate one location in nested data. Returns the data and the name of the mutation."""
    root = {"": copy.deepcopy(content)}
    locations: list[tuple[Any, Any]] = []
    todo: list[Any] = [root]
    while todo:
        holder = todo.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        locations += [(holder, key) for key in keys]
        todo += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    outer = [location for location in locations if isinstance(location[0][location[1]], dict | list)]
    holder, key = draw.choice(outer if outer and draw.random() < 0.2 else locations)
    value, name = holder[key], draw.choice(["value", "value", "swap", "near", "remove", "rename", "nest", "grow"])
    if name == "value":
        holder[key] = copy.deepcopy(draw.choice(ODD))
    elif name == "swap":
        other, other_key = draw.choice(locations)
        holder[key] = copy.deepcopy(other[other_key])
    elif name == "near":
        holder[key] = _near(value, draw)
    elif name == "remove":
        del holder[key]
    elif name == "rename" and isinstance(holder, dict):
        holder[draw.choice(["", "args", "plugin", "type", "tuple", str(key) + "x"])] = holder.pop(key)
    elif name == "nest":
        for _ in range(draw.choice([1, 3, 100, 300])):
            holder[key] = {"tuple": [holder[key]]} if draw.random() < 0.5 else [holder[key]]
    elif isinstance(value, list):
        holder[key] = value * draw.choice([2, 50])
    return root.get(""), name


def _near(value: Any, draw: random.Random) -> Any:
    """A different value, where possible of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice([value + 1, value - 1, value * 2, -value, value * 10**6, value * 2**40])
    if isinstance(value, float):
        return draw.choice([value * 1e10, -value, value + 1e-3])
    if isinstance(value, str):
        return draw.choice([value[:-1], value + "x", value.upper(), value * 40, value + "\n"])
    return draw.choice(ODD)


def _json(path: Path, draw: random.Random) -> str:
    content, name = edited(json.loads(path.read_text(encoding="utf-8")), draw)
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"json {name}"


def _yaml(path: Path, draw: random.Random) -> str:
    content, name = edited(yaml.safe_load(path.read_text(encoding="utf-8")), draw)
    try:
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
    except (yaml.YAMLError, UnicodeEncodeError):  # not representable in YAML
        return _bytes(path, draw)
    return f"yaml {name}"


def _header(path: Path, draw: random.Random) -> str:
    """Mutate the header of a safetensors file and update its length."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, name = edited(json.loads(content[8 : 8 + length]), draw)
    written = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + content[8 + length :])
    return f"header {name}"


def _members(path: Path, draw: random.Random) -> str:
    """Mutate, remove, rename or duplicate a member of a zip archive, with valid checksums."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    program = next((name for name in members if name.endswith("data.pkl")), None)
    member = program if program and draw.random() < 0.7 else draw.choice(list(members))
    name = draw.choice(["content", "content", "content", "remove", "rename", "deflate"])
    if name == "content":
        members[member], how = _patched(members[member], draw) if member == program else flipped(members[member], draw)
        name = f"{Path(member).name} {how}"
    elif name == "remove":
        del members[member]
    elif name == "rename":
        members[draw.choice([*members, "x", "archive/data/99"])] = members.pop(member)
    kind = zipfile.ZIP_DEFLATED if name == "deflate" else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as new:
        for key, content in members.items():
            new.writestr(key, content)
    path.write_bytes(buffer.getvalue())
    return f"zip {name}"


def _patched(program: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Replace bytes of a pickle by opcodes, or mutate it like other bytes. Returns it and the mutation's name."""
    if draw.random() < 0.4:
        return flipped(program, draw)
    data = bytearray(program)
    for _ in range(draw.choice([1, 1, 4])):
        data[draw.randrange(len(data))] = draw.choice(
            b"()]}.N\x88\x89K\x01J\xffM\x8aG\x85\x86\x87tuseahqrRbcQX\x81\x80\x02"
        )
    return bytes(data), "opcode"
