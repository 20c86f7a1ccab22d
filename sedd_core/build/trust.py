"""Classes defined in an experiment file: quick work, recorded by the file's hash, loaded only where it is trusted.

A record that names such a class holds no code. To build it, the file has to be there unchanged, and either its
experiment was named on the command line, or `trust` was called.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from ..files import check_readable
from ..files import digest as digest_of
from ..record import Node
from ..record.recordable import open_classes
from ..registry.plugins import contract_fault
from ..registry.table import contracts


def recordable_contracts() -> tuple[type, ...]:
    """What a class of an experiment's file may be: a stage, or a subclass of an open class of the core."""
    return (*contracts().values(), *open_classes())


_folders: set[Path] = set()
"""Of the experiments that were named on the command line."""
_modules: dict[str, ModuleType] = {}
"""What was imported and recorded, by the hash of its file."""
_import: list[Callable[[Path], ModuleType]] = []
"""How `class_of_file` imports a file that is trusted; empty while none is."""


def trust(importer: Callable[[Path], ModuleType]) -> None:
    """From now on, import the files that records name. They run as any program does: look at them first."""
    _import.append(importer)


def admit(folder: Path) -> None:
    """The folder of an experiment that the user named: classes of its files may be used and recorded."""
    _folders.add(folder)


def file_node(cls: type) -> Node | None:
    """The node, without arguments, of a class in a file beside an experiment; None for other classes.

    Raises:
        UserError: The class does not keep its contract.
    """
    module = sys.modules.get(cls.__module__)
    path = Path(getattr(module, "__file__", None) or "/")
    known = path.parent in _folders or module in _modules.values()
    if module is None or not known or not issubclass(cls, recordable_contracts()):
        return None
    fault = contract_fault(cls, contract_of(cls))
    if fault:
        raise UserError(f"The class {cls.__name__} of {path} cannot be used: {fault}.")
    digest = digest_of(path)
    _modules[digest] = module
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return Node("file", cls.__name__, file=str(shown), sha256=digest)


def class_of_file(node: Node) -> type:
    """The class that such a node names. UserError when its file is not trusted, not there, or has changed."""
    path, digest, name = Path(node.file), node.sha256, node.name
    if digest not in _modules:
        if not _import:
            raise UserError(
                f"The record names the class {name} of the file {path}, which is code. Look at that file (sha256 "
                f"{digest[:12]}...), and give --trust to run it (in Python: sedd_core.cli.trust_files())."
            )
        check_readable(path)
        if not path.is_file() or digest_of(path) != digest:
            what = "has changed since" if path.is_file() else "is not here"
            raise UserError(f"The record needs the class {name} of {path}, which {what}: put back the file it was.")
        _modules[digest] = _import[-1](path)
    cls = getattr(_modules[digest], name, None)
    if not (inspect.isclass(cls) and issubclass(cls, recordable_contracts())):
        raise UserError(f"{path} has no class {name} that is a stage of a run or an optimizer.")
    return cls


def contract_of(cls: type) -> type:
    """The one of `recordable_contracts` that a class keeps."""
    return next(contract for contract in recordable_contracts() if issubclass(cls, contract))
