"""Classes defined in an experiment's file: recorded by the file's hash, loaded only if it is trusted.

A record that names such a class contains no code. Building it requires the unchanged file, and that its experiment
was named on the command line or `trust` was called.
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
    """Allowed base classes for classes of an experiment's file: contracts of stages, and open classes of the core."""
    return (*contracts().values(), *open_classes())


_folders: set[Path] = set()
"""Folders of the experiments that were named on the command line."""
_modules: dict[str, ModuleType] = {}
"""Modules that were imported or recorded, by the hash of their file."""
_import: list[Callable[[Path], ModuleType]] = []
"""Importers of trusted files; the last one is used, and an empty list means that no file is trusted."""


def trust(importer: Callable[[Path], ModuleType]) -> None:
    """Allow records to import the files that they name. These run as arbitrary code: inspect them first.

    Args:
        importer: Imports the module in a file.
    """
    _import.append(importer)


def admit(folder: Path) -> None:
    """Allow classes in the files of a folder to be used and recorded.

    Args:
        folder: Folder of an experiment that the user named.
    """
    _folders.add(folder)


def file_node(cls: type) -> Node | None:
    """The node, without arguments, of a class in a file beside an experiment.

    Args:
        cls: Class to record.

    Returns:
        The node; None for classes from elsewhere.

    Raises:
        UserError: The class does not satisfy its contract.
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
    """The class that a node of kind "file" names.

    Args:
        node: Node from `file_node`.

    Raises:
        UserError: The file is not trusted, is missing or has changed, or does not define the class.
    """
    path, digest, name = Path(node.file), node.sha256, node.name
    if digest not in _modules:
        if not _import:
            raise UserError(
                f"The record names the class {name} of the file {path}, which is code. Inspect that file (sha256 "
                f"{digest[:12]}...), then pass --trust to run it (in Python: sedd_core.cli.trust_files())."
            )
        check_readable(path)
        if not path.is_file() or digest_of(path) != digest:
            what = "has changed since" if path.is_file() else "does not exist"
            raise UserError(f"The record needs the class {name} of {path}, which {what}. Restore the original file.")
        _modules[digest] = _import[-1](path)
    cls = getattr(_modules[digest], name, None)
    if not (inspect.isclass(cls) and issubclass(cls, recordable_contracts())):
        raise UserError(f"{path} has no class {name} that is a stage or an optimizer.")
    return cls


def contract_of(cls: type) -> type:
    """The first of `recordable_contracts` that a class inherits from."""
    return next(contract for contract in recordable_contracts() if issubclass(cls, contract))
