"""Experiment files: located by path, imported, and their config function called."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import fiddle as fdl
from fiddle import history

from ..build.trust import admit, trust
from ..errors import UserError, nearest
from ..files import check_readable
from ..record.record import Record
from .calls import parse_call, typed_arguments
from .config import config_of
from .hints import parameters, renamed

DEFAULT = "config"
"""Function that is called if the command line names none."""


def load_experiment(target: str) -> fdl.Config[Any]:
    """The config that an experiment returns.

    Args:
        target: `FILE.py` (function `config`), `FILE.py:NAME` or `FILE.py:NAME(argument=value)`.

    Raises:
        UserError: The file or function does not exist, fails, or does not return an `fdl.Config`.
    """
    file, _, call = target.partition(":")
    result = call_in(target, call or DEFAULT)
    if not isinstance(result, fdl.Config):
        kind = "nothing (does it end with `return`?)" if result is None else f"a {type(result).__name__}"
        raise UserError(f"{file}:{call or DEFAULT} returns {kind}; it must return an fdl.Config.")
    return result


def call_in(target: str, call: str, *first: Any) -> Any:
    """Call a function of an experiment's file.

    Args:
        target: Experiment, of which only the file counts.
        call: Function to call: `NAME` or `NAME(argument=value)`.
        *first: Positional arguments, which the command line cannot set.

    Returns:
        What the function returns.

    Raises:
        UserError: The file or function does not exist, or fails; the message shows the line.
    """
    file = target.partition(":")[0]
    if file.endswith(".json"):
        raise UserError(f"{file} is a record, which has no functions: {call} must be in an experiment's file.")
    path = _existing(Path(file))
    name, texts = parse_call(call, "The experiment's file needs the name of a function")
    admit(path.parent)
    module = _explained(path, lambda: _import(path))
    function = getattr(module, name, None)
    if not callable(function):
        functions = _functions(module)
        raise UserError(
            f"{path} has no function '{name}'.{nearest(name, functions)} Its functions: "
            f"{', '.join(functions) or 'none'}. Choose one: --fdl_config={file}:NAME"
        )
    arguments = typed_arguments(function, texts, name, skip=len(first))
    try:
        inspect.signature(function).bind(*first, **arguments)
    except TypeError as error:
        given = "the run and these arguments" if first else "these arguments"
        raise UserError(
            f"{path}: {name}{inspect.signature(function)} cannot be called with {given}: {error}. Write the "
            f"arguments as {name}(name=value), in quotes."
        ) from error
    return _explained(path, lambda: function(*first, **arguments))


def trust_files() -> None:
    """Allow records to name classes of Python files, which are imported and thereby executed: inspect them first."""
    trust(_import)


def load_config(target: str) -> fdl.Config[Any]:
    """The config of an experiment, or of a run's record (`config.json`).

    Args:
        target: Experiment (see `load_experiment`) or path of a record.

    Raises:
        UserError: The experiment or record cannot be read.
    """
    if not target.endswith(".json"):
        return load_experiment(target)
    with history.custom_location(lambda: history.Location(target, 0, None)):
        config = config_of(Record.read(Path(target)).run)
    if not isinstance(config, fdl.Config):
        raise UserError(f"{target} is not the record of a run.")
    return config


def name_of_run(target: str) -> str:
    """The name of a run's folder: the experiment's file name; for a record, the name of its experiment or folder."""
    path = Path(target.partition(":")[0])
    if path.suffix != ".json":
        return path.stem
    folder = path.resolve().parent
    if folder.parent.name == "checkpoints":
        folder = folder.parent.parent
    return folder.parent.name if re.fullmatch(r"\d{8}-\d{6}(-\d+)?", folder.name) else folder.name


def named_sizes(target: str, stage: str) -> dict[str, Callable[..., Any]]:
    """The named sizes of a stage: `models.py` defines those of the model.

    Args:
        target: Experiment or record. A record has no sizes: files beside it may be as foreign as itself, and are not
            executed.
        stage: Name of the stage.

    Returns:
        The functions of `<stage>s.py` beside the experiment, else in experiments/, by name.
    """
    file = target.partition(":")[0]
    folders = [] if file.endswith(".json") else [Path(file).parent, Path("experiments")]
    for path in [(folder / f"{stage}s.py").resolve() for folder in folders]:
        if path.is_file():
            return _functions(_explained(path, partial(_import, path)))
    return {}


def _functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines."""
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return {name: value for name, value in own.items() if callable(value) and not name.startswith("_")}


def _existing(path: Path) -> Path:
    """The resolved path of a Python file. UserError, with the experiments there are, for any other path."""
    check_readable(path)
    if path.is_file() and path.suffix == ".py":
        return path.resolve()
    named = path if path.is_dir() else path.parent
    likely = (named, Path("experiments")) if named != Path() else (Path("experiments"), named)
    folder = next((folder for folder in likely if folder.is_dir()), likely[0])
    others = sorted(other.name for other in folder.glob("*.py") if other.is_file() and other.name != "__init__.py")
    what = "is not a Python file" if path.exists() else "does not exist"
    listing = ", ".join(others) or "none"
    hint = nearest(path.name, others).replace("'", f"'{folder}{os.sep}", 1)
    raise UserError(f"{path} {what}.{hint} Experiments in {folder}: {listing}.")


def _import(path: Path) -> ModuleType:
    """Import a file: by its dotted name where the import path has one (experiments import each other), else alone."""
    for entry in (Path(entry).resolve() for entry in sys.path):
        dotted = path.relative_to(entry).with_suffix("").parts if path.is_relative_to(entry) else ()
        if dotted and all(part.isidentifier() for part in dotted):
            name = ".".join(dotted)
            if _origin(name) == path:
                return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look up their module
    spec.loader.exec_module(module)
    return module


def _origin(name: str) -> Path | None:
    """The file that `name` is imported from, since another package of that name may shadow it; None for none."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None


def _explained(path: Path, action: Callable[[], Any]) -> Any:
    """The action's result. UserError, with the line of the experiment, for any exception that it raises."""
    try:
        return action()
    except UserError as error:
        raise UserError(f"{_line_of(path, error)}{error}") from error
    except SyntaxError as error:
        line = f"{error.filename}:{error.lineno}: {(error.text or '').strip()}\n" if error.filename else f"{path}: "
        raise UserError(f"{line}SyntaxError: {error.msg}") from error
    except AttributeError as error:
        raise UserError(f"{_line_of(path, error)}AttributeError: {_attribute_message(error)}") from error
    except (Exception, SystemExit) as error:  # SystemExit: a call of exit() in the file
        raise UserError(f"{_line_of(path, error)}{type(error).__name__}: {error}{renamed(error)}") from error


def _attribute_message(error: AttributeError) -> str:
    """The message of an AttributeError; for a config in one line, since Fiddle's shows the whole config."""
    if not isinstance(error.obj, fdl.Buildable) or error.name is None:
        return str(error)
    owner, known = fdl.get_callable(error.obj), parameters(error.obj)
    if error.name in known:
        return f"{owner.__name__}.{error.name} has not been set"
    return f"{owner.__name__} has no '{error.name}'.{nearest(error.name, known)} It has: {', '.join(known)}."


def _line_of(path: Path, error: BaseException) -> str:
    """`file:line: text` of the innermost frame in the experiment's folder; the file alone where there is none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent == path.parent]
    if not frames:
        return f"{path}: "
    last = frames[-1]
    text = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{last.filename}:{last.lineno}: {text}\n"
