"""Sphinx settings of the documentation site, which scripts/build_docs.py puts together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import sedd_core

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "SEDD"
author = "the authors of sedd-core"
version = release = sedd_core.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the shapes are in the text; evaluated, they fill lines
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_custom_sections = [("Source", "notes_style"), ("Formula", "notes_style")]
default_role = "literal"

highlight_language = "text"

html_theme = "furo"
html_title = f"SEDD {release}"


def escape_formulas(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Let the stars and bars of formulas stand for themselves."""
    del app, what, name, obj, options
    for index, line in enumerate(lines):
        parts = re.split("(`[^`]*`)", line)
        lines[index] = "".join(part if part.startswith("`") else re.sub(r"([*|])", r"\\\1", part) for part in parts)


def skip_bare_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out fields of named tuples that have no text of their own: their class describes them."""
    del app, what, name, skip, options
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", skip_bare_fields)
    app.connect("autodoc-process-docstring", escape_formulas, priority=100)
