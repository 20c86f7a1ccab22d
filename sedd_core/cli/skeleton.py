"""The text of a new plugin's module, from the contract of its stage."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any

from .. import stages
from ..registry.hookspecs import hook_of
from ..registry.table import LATE_BOUND, STAGES, contracts


def hook(stage: str, cls: str, contract: str) -> str:
    """The hook of a plugin's module.

    Args:
        stage: Stage of the plugin.
        cls: Name of its class.
        contract: Name of the stage's contract.
    """
    head = f"@hookimpl\ndef {hook_of(stage)}() -> type[{contract}]:\n"
    return f'{head}    """The class of this plugin."""\n    return {cls}\n'


def skeleton(stage: str, variant: str) -> str:
    """The module of a plugin whose methods are to be written: signatures and docstrings of its contract.

    Args:
        stage: Stage of the plugin.
        variant: Name of the variant.
    """
    contract = contracts()[stage]
    cls = "".join(part.capitalize() for part in variant.split("_"))
    imported: dict[str, set[str]] = {"sedd_core": {"hookimpl"}, "sedd_core.stages": {contract.__name__}}
    methods = [_method(contract, name, imported) for name in sorted(contract.__abstractmethods__)]
    body = "\n\n".join(textwrap.indent(part, "    ") for part in [*_constructor(stage, contract), *methods])
    return (
        f'"""The {variant} {STAGES[stage].about}."""\n\nfrom __future__ import annotations\n\n'
        + _imports(imported)
        + f'\n\n\nclass {cls}({contract.__name__}):\n    """State here what the class computes, and its source."""\n\n'
        + f"{body}\n\n\n{hook(stage, cls, contract.__name__)}"
    )


def _constructor(stage: str, contract: type) -> list[str]:
    """A constructor that takes what a run binds late; none if there is nothing to take."""
    late = LATE_BOUND.get(stage, ())
    if not late:
        return []
    taken = ", ".join(f"{name}: int" for name in late)
    needed = [p.name for p in inspect.signature(contract).parameters.values() if p.default is p.empty]
    passed = ", ".join(f"{name}={late[0]}" for name in needed)
    return [f"def __init__(self, *, {taken}) -> None:\n    super().__init__({passed})"]


def _method(contract: type, name: str, imported: dict[str, set[str]]) -> str:
    """An abstract method with signature and docstring of its contract; what it needs is added to `imported`."""
    member = inspect.getattr_static(contract, name)
    function = inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", member))
    source = textwrap.dedent(inspect.getsource(function))
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    for part in (one for where in (node.args, node.returns) if where for one in ast.walk(where)):
        if isinstance(part, ast.Name) and part.id in function.__globals__:
            module = _module_of(function.__globals__[part.id], part.id)
            imported.setdefault(module, set()).add(part.id)
    decorators = [f"@{text}" for one in node.decorator_list if (text := ast.unparse(one)) != "abstractmethod"]
    written = source.splitlines()[node.lineno - 1 : node.body[0].end_lineno]
    return "\n".join([*decorators, *written, '    raise NotImplementedError("write this method: see its docstring")'])


def _module_of(value: Any, name: str) -> str:
    """The module to import a name from: a public one where there is one."""
    if inspect.ismodule(value):
        return value.__name__.rpartition(".")[0]
    if getattr(stages, name, None) is value:
        return "sedd_core.stages"
    module = value.__module__
    return ".".join(module.split(".")[:2]) if module.startswith("sedd_core.") else module.partition("._")[0]


def _imports(names: dict[str, set[str]]) -> str:
    """Statements that import names by module, those of the standard library first; the module "" holds modules."""
    whole = [f"import {name}" for name in sorted(names.pop("", set()))]
    groups = [
        [module for module in sorted(names) if (module.partition(".")[0] in sys.stdlib_module_names) == standard]
        for standard in (True, False)
    ]
    texts = ["\n".join(f"from {module} import {', '.join(sorted(names[module]))}" for module in one) for one in groups]
    return "\n\n".join("\n".join(filter(None, part)) for part in ([texts[0]], [*whole, texts[1]]) if any(part))
