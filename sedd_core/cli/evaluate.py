"""`python -m sedd_core evaluate CHECKPOINT --protocol=NAME`: an `Evaluate` run under a named protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiddle as fdl

from ..checkpoints import find_checkpoint
from ..errors import UserError
from ..evaluation import UNITS
from ..evaluation.protocol import Protocol, protocol_names, read_protocol
from ..runs import Evaluate
from .config import stage

USAGE = """usage: python -m sedd_core evaluate CHECKPOINT --protocol=NAME [--set=NAME] [--file=FILE]
                                    [--tokenizer=TOKENIZER] [flags and settings of launch.py]

--protocol   {protocols}; or a .toml file
--set        lambada, ptb, wikitext2, ... (data of the protocol's form); without it the data of the checkpoint is taken,
             and only the protocol's estimator is applied
--file       local file of the set, in place of the hub
--tokenizer  of the set; by default that of the checkpoint, else the protocol's"""


def config(protocol: str = "default", set: str = "", file: str = "", tokenizer: str = "") -> fdl.Config[Evaluate]:
    """Config of an evaluation under a protocol, without its checkpoint.

    Args:
        protocol: Name of the protocol, or path of a .toml file.
        set: Name of the data set; "" for the data of the checkpoint.
        file: Local file of the set; "" for the hub.
        tokenizer: Tokenizer of the set; "" for the protocol's.
    """
    found = read_protocol(protocol)
    settings = dict(found.evaluator)
    evaluator = stage(settings.pop("plugin"), **({"units": UNITS} | _tuples(settings) | {"protocol": protocol}))
    if not set:
        if file or tokenizer:
            raise UserError("file and tokenizer need a set: --set=NAME.")
        return fdl.Config(Evaluate, evaluator=evaluator, seed=0)
    return fdl.Config(Evaluate, evaluator=evaluator, data=_data(found, set, file, tokenizer), seed=0)


def _data(protocol: Protocol, name: str, file: str, tokenizer: str) -> Any:
    """The data of a set in the protocol's form."""
    if not protocol.data:
        raise UserError(f"The protocol {protocol.title} states no data: leave --set out, and set data=...")
    settings = _tuples(protocol.data) | {"name": name}
    settings |= {"split": protocol.splits[name]} if name in protocol.splits else {}
    settings |= {key: value for key, value in (("file", file), ("tokenizer", tokenizer)) if value}
    return stage(settings.pop("plugin"), **settings)


def _tuples(settings: Any) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def main(arguments: list[str]) -> int:
    """Compose and run the evaluation that a command line describes. Returns the exit code.

    Args:
        arguments: Words after `evaluate`.

    Raises:
        UserError: The command line is wrong.
    """
    from .main import main as launch

    own = {"protocol": "", "set": "", "file": "", "tokenizer": ""}
    rest, checkpoints = [], []
    for word in arguments:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals and name in own:
            own[name] = value
        elif word.startswith("-") or equals:
            rest.append(word)
        else:
            checkpoints.append(word)
    if len(checkpoints) != 1 or not own["protocol"]:
        raise UserError(
            f"evaluate takes one checkpoint and a protocol.\n{USAGE.format(protocols=', '.join(protocol_names()))}"
        )
    read_protocol(own["protocol"])  # its message comes first
    if own["set"] and not own["tokenizer"]:
        own["tokenizer"] = str(find_checkpoint(Path(checkpoints[0])).tokenizer() or "")
    call = ", ".join(f"{name}={value!r}" for name, value in own.items() if value)
    return launch(["evaluate", f"--fdl_config={__file__}:config({call})", f"--checkpoint={checkpoints[0]}", *rest])
