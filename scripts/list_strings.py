"""List every string that a user can see: messages, help texts, docstrings. For reading them in one go.

    python scripts/list_strings.py                  every string of this checkout, with its file and line
    python scripts/list_strings.py --old OTHER      strings that the checkout in OTHER lacks (+), and those that this
                                                    one lacks (-), file by file

Values in a message are shown as {...}. A string is listed once per file.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = ("sedd_core", "plugins", "experiments")
SHORTEST = 3
"""Words of a string that is listed although it is not a docstring: shorter ones are names and separators."""


class String(NamedTuple):
    """A string of a file: its line, its kind ("message" or "docstring") and its text in one line."""

    line: int
    kind: str
    text: str


def strings_of(source: str) -> Iterator[String]:
    """The strings of a Python file that its users can see, in order."""
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)}
    inside -= {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
    found = [
        String(node.lineno, "docstring" if id(node) in documented else "message", text)
        for node in ast.walk(tree)
        if isinstance(node, ast.expr)
        and id(node) not in inside
        and (text := _text(node))
        and (id(node) in documented or _is_prose(text))
    ]
    return iter(sorted(set(found)))


def _text(node: ast.AST) -> str:
    """The text of a string or f-string in one line, values as {...}; "" for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "{...}" for part in node.values]
        return " ".join("".join(parts).split())
    return ""


def _is_prose(text: str) -> bool:
    return len(text.split()) >= SHORTEST and any(character.isalpha() for character in text)


def listing(root: Path) -> dict[str, list[String]]:
    """The strings of every file of a checkout, by the file's path in it; tests left out."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")) if "tests" not in path.parts]
    return {str(path.relative_to(root)): list(strings_of(path.read_text(encoding="utf-8"))) for path in paths}


def main() -> int:
    """Print the list. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--old", type=Path, help="Folder of another checkout to compare with.")
    old = parser.parse_args().old
    new = listing(ROOT)
    if old is None:
        for path, strings in new.items():
            for string in strings:
                print(f"{path}:{string.line}  {string.kind}  {string.text}")
        return 0
    before = {string.text for strings in listing(old).values() for string in strings}
    after = {string.text for strings in new.values() for string in strings}
    for sign, files, others in (("-", listing(old), after), ("+", new, before)):
        for path, strings in files.items():
            for string in strings:
                if string.text not in others:
                    print(f"{sign} {path}:{string.line}  {string.kind}  {string.text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
