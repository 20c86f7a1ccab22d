"""Build the documentation site: README, docs/, the plugins' pages, and the reference from docstrings.

    make docs           writes .docs/html/index.html; a broken link or a docstring that does not parse is an error

Sphinx with MyST reads one folder, so the pages are gathered in .docs/source first and their links rewritten.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path, PurePosixPath

from sedd_core.registry.hookspecs import hook_of, specifications
from sedd_core.registry.table import STAGES

ROOT = Path(__file__).resolve().parents[1]
GUIDES = "experiments training slurm sampling evaluation families coming-from performance"
BACKGROUND = "mathematics architecture from-0.1"
ROOMS = "stages runs training model data text evaluation checkpoints record maths testing"
"""Rooms whose own names are public and listed: the page of a room is made from the docstrings of its `__all__`."""
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files outside of docs/, by the page that they become."""


def build(folder: Path) -> int:
    """Write the site below a folder.

    Returns:
        Sphinx's exit code: not 0 if there was a warning.
    """
    from sphinx.cmd.build import main as sphinx  # half a second

    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    pages = {file: PAGES[file] for file in PAGES if (ROOT / file).exists()}
    pages |= {f"docs/{file.name}": file.name for file in (ROOT / "docs").glob("*.md")}
    pages |= {f"plugins/{file.parent.name}/README.md": f"plugins/{file.parent.name}.md" for file in plugin_files()}
    for file, page in pages.items():
        write(source / page, rewrite((ROOT / file).read_text(), ROOT / file, page, pages, source))
    for room in ROOMS.split():
        write(source / "reference" / f"{room}.md", reference(f"sedd_core.{room}", room))
    write(source / "reference" / "hooks.md", hooks())
    write(source / "plugins" / "index.md", "# Plugins\n\n" + toctree("", [file.parent.name for file in plugin_files()]))
    with (source / "index.md").open("a") as index:
        index.write(contents([page.removesuffix(".md") for page in pages.values()]))
    shutil.copy(ROOT / "docs" / "site" / "conf.py", source / "conf.py")
    return sphinx(["-b", "html", "-q", "-W", "--keep-going", "-j", "auto", str(source), str(folder / "html")])


def plugin_files() -> list[Path]:
    return sorted((ROOT / "plugins").glob("*/README.md"))


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def rewrite(text: str, file: Path, page: str, pages: dict[str, str], source: Path) -> str:
    """A file's text as a page; its links lead to pages and copied pictures, others become plain names."""

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        wanted = (file.parent / target).resolve()
        name = wanted.relative_to(ROOT).as_posix() if wanted.is_relative_to(ROOT) else ""
        page_of = pages.get(name) or pages.get(f"{name}/README.md")
        up = "../" * page.count("/")
        if page_of:
            return f"{label}({up}{page_of}{anchor})"
        if wanted.suffix in (".svg", ".png"):
            (source / PurePosixPath(name).name).write_bytes(wanted.read_bytes())
            return f"{label}({up}{PurePosixPath(name).name})"
        if not wanted.exists():
            return match[0]  # Sphinx names the broken link
        name = label.removeprefix("[").removesuffix("]")
        return name if "`" in name else f"`{name}`"

    return re.sub(r"(!?\[[^\]]*\])\((?!\w+://|#)([^)#\s]+)(#[^)]*)?\)", link, text)


def reference(module: str, title: str) -> str:
    return f"# {title}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"


def hooks() -> str:
    """The page of hooks: one for each stage, with its specification and its contract."""
    page = "# Hooks\n\nA plugin implements the hook of its stage and names it in the entry-point group `sedd`"
    page += " of its `pyproject.toml`: [contracts](../contracts.md) shows one of each stage.\n"
    specified = vars(specifications())
    for name, stage in STAGES.items():
        module, contract = stage.contract.split(":")
        page += f"\n## {hook_of(name)}()\n\n{specified[hook_of(name)].__doc__} "
        page += f"Contract: `{contract}` in `{module}`" + (
            f"; bound late by a run: {', '.join(f'`{argument}`' for argument in stage.late)}.\n"
            if stage.late
            else ".\n"
        )
    return page


def toctree(caption: str, pages: list[str]) -> str:
    options = f":caption: {caption}\n:hidden:\n" if caption else ":maxdepth: 1\n"
    return "\n```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def contents(pages: list[str]) -> str:
    """The tables of contents of the home page."""
    named = [*GUIDES.split(), *BACKGROUND.split(), "contracts", "changelog", "contributing", "index"]
    more = sorted(page for page in pages if page not in named and "/" not in page)
    return (
        toctree("Guides", [*GUIDES.split(), *more])
        + toctree("Reference", ["contracts", "plugins/index", "reference/hooks"])
        + toctree("From docstrings", [f"reference/{room}" for room in ROOMS.split()])
        + toctree("Background", [*BACKGROUND.split(), "contributing", "changelog"])
    )


if __name__ == "__main__":
    sys.exit(build(ROOT / ".docs"))
