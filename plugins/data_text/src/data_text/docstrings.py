"""A corpus available on every machine: the docstrings of Python's standard library.

About 1.8 MB of English prose with code; a few percent of it differ between Python versions.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

LEFT_OUT = {
    "test", "tests", "encodings", "idlelib", "tkinter", "turtledemo", "lib2to3", "distutils", "ensurepip", "venv",
    "site-packages", "dist-packages", "__pycache__",
}  # fmt: skip
SHORTEST = 40
"""Minimum length of a docstring in characters."""


def docstring_corpus(valid_fraction: float) -> tuple[str, str]:
    """Training and validation text, split by a hash of the module name.

    Args:
        valid_fraction: Fraction of the modules held out for validation.
    """
    train, valid = [], []
    for module, text in _documents():
        share = int.from_bytes(hashlib.sha256(module.encode()).digest()[:4], "big") / 2**32
        (valid if share < valid_fraction else train).append(text)
    return "\n\n".join(train), "\n\n".join(valid)


@cache
def _documents() -> tuple[tuple[str, str], ...]:
    """Pairs of module name and docstrings, sorted by name, then the topics of the interactive help.

    The topics count as one module: they repeat one another and must not be in both splits.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in library.rglob("*.py") if not LEFT_OUT & set(path.relative_to(library).parts))
    documents = [(_name(path.relative_to(library)), "\n\n".join(_docstrings(path))) for path in files]
    topics = import_module("pydoc_data.topics").topics
    documents += [("pydoc_data.topics", text) for _, text in sorted(topics.items())]
    return tuple((name, _ascii(text)) for name, text in documents if text)


def _name(file: Path) -> str:
    return ".".join(file.with_suffix("").parts)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= SHORTEST:
                yield text


def _ascii(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or " " <= c <= "~")
