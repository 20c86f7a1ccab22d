"""Descriptions of settings for `--fdl_help`, read from the docstrings of their classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from functools import cache

ARGUMENT = re.compile(r"^    (\w+): (.+)$")
"""First line of an argument in the `Args:` section of a docstring."""


@cache
def meanings(cls: type) -> dict[str, str]:
    """The description of each argument of a class, in one line, by name.

    Args:
        cls: A dataclass with a docstring under each field, or another class with an `Args:` section in its docstring
            or that of its `__init__`. Arguments of base classes are included.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _of_fields(base)
        for documented in (base, vars(base).get("__init__")):
            found |= _of_section(inspect.cleandoc(getattr(documented, "__doc__", None) or ""))
    return found


def first_sentence(cls: type) -> str:
    """The first paragraph of a class's docstring, in one line."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def _of_fields(cls: type) -> dict[str, str]:
    """The string under each annotated name in the source of a class."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, docstring in zip(definition.body, definition.body[1:], strict=False):
        match field, docstring:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _of_section(docstring: str) -> dict[str, str]:
    """The entries of the `Args:` section of a docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("\nArgs:\n")[2].split("\n"):
        if line and not line.startswith("    "):  # the next section
            break
        argument = ARGUMENT.match(line)
        if argument:
            name, found[argument[1]] = argument[1], argument[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found
