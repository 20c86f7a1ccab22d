"""Experiment files: found by path, imported, their config function called."""

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


def load_experiment(target: str) -> fdl.Config[Any]:
    """The config that `FILE.py`, `FILE.py:NAME` or `FILE.py:NAME(argument=value)` gives; NAME is else `config`."""
    file, _, call = target.partition(":")
    result = call_in(target, call or DEFAULT)
    if not isinstance(result, fdl.Config):
        kind = "nothing (does it end with `return`?)" if result is None else f"a {type(result).__name__}"
        raise UserError(f"{file}:{call or DEFAULT} returns {kind}; it must return an fdl.Config.")
    return result


def call_in(target: str, call: str, *first: Any) -> Any:
    """What the function `NAME` or `NAME(argument=value)` of an experiment's file returns, given `first` before."""
    file = target.partition(":")[0]
    if file.endswith(".json"):
        raise UserError(f"{file} is a record, which has no functions: {call} would be one of an experiment's file.")
    path = _existing(Path(file))
    name, texts = parse_call(call, "A function of the experiment's file is to be named")
    admit(path.parent)
    module = _within(path, lambda: _import(path))
    function = getattr(module, name, None)
    if not callable(function):
        functions = _functions(module)
        raise UserError(
            f"{path} has no function '{name}'.{nearest(name, functions)} Its functions: "
            f"{', '.join(functions) or 'none'}. Name one: --fdl_config={file}:NAME"
        )
    arguments = typed_arguments(function, texts, name, skip=len(first))
    try:
        inspect.signature(function).bind(*first, **arguments)
    except TypeError as error:
        given = "the run and these arguments" if first else "these arguments"
        raise UserError(
            f"{path}: {name}{inspect.signature(function)} cannot be called with {given}: {error}. Arguments are "
            f"given as {name}(name=value), in quotes."
        ) from error
    return _within(path, lambda: function(*first, **arguments))


def trust_files() -> None:
    """Let records name classes of files, which are then imported, and so run. Look at those files first."""
    trust(_import)


def load_config(target: str) -> fdl.Config[Any]:
    """The config of an experiment, or of a run's record (`config.json`)."""
    if not target.endswith(".json"):
        return load_experiment(target)
    with history.custom_location(lambda: history.Location(target, 0, None)):
        config = config_of(Record.read(Path(target)).run)
    if not isinstance(config, fdl.Config):
        raise UserError(f"{target} is the record of no run.")
    return config


def name_of_run(target: str) -> str:
    """What a run's folder is called after: the experiment's file; of a record, its experiment's or its own folder."""
    path = Path(target.partition(":")[0])
    if path.suffix != ".json":
        return path.stem
    folder = path.resolve().parent
    if folder.parent.name == "checkpoints":
        folder = folder.parent.parent
    return folder.parent.name if re.fullmatch(r"\d{8}-\d{6}(-\d+)?", folder.name) else folder.name


def named_sizes(target: str, stage: str) -> dict[str, Callable[..., Any]]:
    """The functions of `<stage>s.py` beside an experiment, else in experiments/: `models.py` has the sizes of models.

    A record has none: what lies beside it may be from elsewhere, like itself, and is not run.
    """
    file = target.partition(":")[0]
    folders = [] if file.endswith(".json") else [Path(file).parent, Path("experiments")]
    for path in [(folder / f"{stage}s.py").resolve() for folder in folders]:
        if path.is_file():
            return _functions(_within(path, partial(_import, path)))
    return {}


def _functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """A module's own public functions."""
    own = {
        name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__
    }
    return {name: value for name, value in own.items() if callable(value) and not name.startswith("_")}


def _existing(path: Path) -> Path:
    check_readable(path)
    if path.is_file() and path.suffix == ".py":
        return path.resolve()
    named = path if path.is_dir() else path.parent
    likely = (named, Path("experiments")) if named != Path() else (Path("experiments"), named)
    folder = next((folder for folder in likely if folder.is_dir()), likely[0])
    others = sorted(other.name for other in folder.glob("*.py") if other.is_file() and other.name != "__init__.py")
    what = "is not a Python file" if path.exists() else "does not exist"
    listing = ", ".join(others) or "no experiment"
    hint = nearest(path.name, others).replace("'", f"'{folder}{os.sep}", 1)
    raise UserError(f"{path} {what}.{hint} In {folder} there is: {listing}.")


def _import(path: Path) -> ModuleType:
    """By its dotted name below a folder of the import path, so that experiments can import each other; else alone."""
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
    sys.modules[spec.name] = module  # a dataclass in the file looks its module up
    spec.loader.exec_module(module)
    return module


def _origin(name: str) -> Path | None:
    """The file that `name` would be imported from: another package of the same name may stand before it."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None


def _within(path: Path, action: Callable[[], Any]) -> Any:
    """The action's result; what goes wrong in the experiment's own lines as a UserError that shows the line."""
    try:
        return action()
    except UserError as error:
        raise UserError(f"{_place(path, error)}{error}") from error
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}: {(error.text or '').strip()}\n" if error.filename else f"{path}: "
        raise UserError(f"{place}SyntaxError: {error.msg}") from error
    except AttributeError as error:
        raise UserError(f"{_place(path, error)}AttributeError: {_lacking(error)}") from error
    except (Exception, SystemExit) as error:  # a call of exit() too has its line shown
        raise UserError(f"{_place(path, error)}{type(error).__name__}: {error}{renamed(error)}") from error


def _lacking(error: AttributeError) -> str:
    """What an AttributeError says; of a config, whose own message shows all of it, in a line."""
    if not isinstance(error.obj, fdl.Buildable) or error.name is None:
        return str(error)
    owner, known = fdl.get_callable(error.obj), parameters(error.obj)
    if error.name in known:
        return f"{owner.__name__}.{error.name} has not been set"
    return f"{owner.__name__} has no '{error.name}'.{nearest(error.name, known)} It has: {', '.join(known)}."


def _place(path: Path, error: BaseException) -> str:
    """`file:line: text` of the innermost line of the experiments' folder that the error passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent == path.parent]
    if not frames:
        return f"{path}: "
    last = frames[-1]
    text = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{last.filename}:{last.lineno}: {text}\n"
