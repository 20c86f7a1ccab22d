"""`python -m sedd_core new STAGE VARIANT`: a package for a new plugin, whose check says what is left to write."""

from __future__ import annotations

import importlib.util
import inspect
import keyword
import re
from pathlib import Path

from .. import __version__
from ..console import say
from ..errors import UserError, nearest
from ..registry.hookspecs import hook_of
from ..registry.table import STAGES, contracts
from .skeleton import hook, skeleton

USAGE = """usage: python -m sedd_core new STAGE VARIANT [--in=FOLDER] [--from=FILE.py]

STAGE    {stages}
VARIANT  name of the new plugin without its stage: ring, of graph_ring
--in     folder in which the package's folder is made (default: the current one)
--from   file whose class the plugin provides; without it, the methods of the contract are to be written"""


def main(words: list[str]) -> int:
    """Write the package that a command line describes. Returns the exit code.

    Args:
        words: Words after `new`.

    Raises:
        UserError: The command line is wrong, or the folder exists.
    """
    own, names, rest = {"in": ".", "from": ""}, [], iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in own:
            own[name] = value if equals else next(rest, "")
        else:
            names.append(word)
    if len(names) != 2 or any(name.startswith("-") for name in names):
        raise UserError(f"new takes a stage and the name of a variant.\n{USAGE.format(stages=', '.join(STAGES))}")
    source = Path(own["from"]).expanduser() if own["from"] else None
    folder = write_package(names[0], names[1], Path(own["in"]).expanduser(), source)
    say(f"Written to {folder}. Next:\n    pip install -e {folder}\n    python -m sedd_core check {folder.name}")
    return 0


def write_package(stage: str, variant: str, where: Path, source: Path | None = None) -> Path:
    """Write the package of a new plugin.

    Args:
        stage: Stage of the plugin.
        variant: Name of the variant.
        where: Folder in which the package's folder, named as the plugin, is made.
        source: File with the class of the plugin; None: a class whose methods are to be written.

    Returns:
        The package's folder.

    Raises:
        UserError: A name is invalid, the folder exists, or the file has no class of the stage.
    """
    if stage not in STAGES:
        raise UserError(f"'{stage}' is not a stage.{nearest(stage, STAGES)} Stages: {', '.join(STAGES)}.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", variant) or keyword.iskeyword(variant):
        raise UserError(f"'{variant}' is not a name for a variant: use small letters, digits and _, such as ring.")
    name = f"{stage}_{variant}"
    folder = where / name
    if folder.exists():
        raise UserError(f"{folder} exists. Choose another folder (--in=...) or remove it.")
    module = skeleton(stage, variant) if source is None else _module_of(source, stage)
    for path, text in {f"src/{name}.py": module, **_files(name, stage)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _files(name: str, stage: str) -> dict[str, str]:
    """All files of a package but its module, by path."""
    fill = {
        "name": name,
        "project": f"sedd-{name.replace('_', '-')}",
        "about": STAGES[stage].about,
        "stage": stage,
        "variant": name.removeprefix(f"{stage}_"),
        "core": _core_versions(),
        "arguments": ', examples=[HERE / "example"]' if stage == "format" else "",
    }
    templates = Path(__file__).parent / "package"
    texts = {
        path.relative_to(templates).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(templates.rglob("*.txt"))
    }
    paths = {"test_name.py": f"tests/test_{name}.py", "ci.yml": ".github/workflows/ci.yml"}
    return {paths.get(path[:-4], path[:-4]): _filled(text, fill) for path, text in texts.items()}


def _filled(text: str, values: dict[str, str]) -> str:
    """A text with values in place of each <<name>>."""
    return re.sub(r"<<(\w+)>>", lambda found: values[found[1]], text)


def _core_versions() -> str:
    """The versions of sedd-core that keep the contracts of this one."""
    major, minor = (int(part) for part in __version__.split(".")[:2])
    return f">={major}.{minor},<{major}.{minor + 1}"


def _module_of(source: Path, stage: str) -> str:
    """The text of a file with a class of the stage, with a hook that returns it."""
    contract = contracts()[stage]
    cls = class_in(source, contract)
    text = source.read_text(encoding="utf-8").rstrip()
    if re.search(rf"^def {hook_of(stage)}\(", text, re.MULTILINE):
        return f"{text}\n"
    imports = (
        f"from sedd_core import hookimpl  # noqa: E402\nfrom sedd_core.stages import {contract.__name__}  # noqa: E402"
    )
    return f"{text}\n\n\n{imports}\n\n\n{hook(stage, cls.__name__, contract.__name__)}"


def class_in(source: Path, contract: type) -> type:
    """The class of a contract that a file defines; the file is executed.

    Args:
        source: The file.
        contract: Abstract class that it subclasses.

    Raises:
        UserError: The file cannot be executed, or does not define exactly one such class.
    """
    spec = importlib.util.spec_from_file_location(source.stem, source)
    if not source.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{source} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{source} fails to import: {type(error).__name__}: {error}") from error
    own = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    found = [one for one in own if issubclass(one, contract)]
    if len(found) != 1:
        names = ", ".join(one.__name__ for one in found) or "none"
        raise UserError(f"{source} must define one subclass of {contract.__name__}; it defines {names}.")
    return found[0]
