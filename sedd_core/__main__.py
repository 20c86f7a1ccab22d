"""`python -m sedd_core COMMAND`: `launch.py` from any folder (`launch`), and the other commands of `USAGE`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the current folder: a random.py in it would shadow the standard library's in imports below

from .console import complain, say
from .errors import UserError, machine_failures_explained

USAGE = """usage: python -m sedd_core launch [flags of launch.py]
       python -m sedd_core evaluate CHECKPOINT --protocol=NAME [--set=NAME] [--file=FILE] [settings]
       python -m sedd_core arena CHECKPOINT... --protocols=A,B [--folder=FOLDER] [--set=NAME] [settings]
       python -m sedd_core plugins [--check] [--json]
       python -m sedd_core check PLUGIN [argument=value ...] [STAGE=PLUGIN ...] [CHECKPOINT ...]
       python -m sedd_core new STAGE VARIANT [--in=FOLDER] [--from=FILE.py]
       python -m sedd_core doctor
       python -m sedd_core inspect CHECKPOINT [FORMAT]
       python -m sedd_core export CHECKPOINT FOLDER [FORMAT [TOKENIZER]]"""


def main() -> None:
    """Run the command that the command line names, and end the process with its exit code."""
    try:
        with machine_failures_explained():
            code = _run(sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:])
            sys.stdout.flush()
    except UserError as error:
        complain(f"error: {error}")
        code = 1
    except BrokenPipeError:  # the reader closed the pipe: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def _run(command: str, rest: list[str]) -> int:
    """Run a command with its arguments. Returns the exit code."""
    if command == "launch":
        from .distributed.rank import end_with_launcher

        end_with_launcher()  # first, since the imports take time
        from .cli.main import main as launch

        sys.path.append(os.getcwd())  # experiments in the current folder can import each other
        return launch([f"{sys.argv[0]} launch", *rest])
    if command in ("evaluate", "arena"):
        from .distributed.rank import end_with_launcher

        end_with_launcher()
        from importlib import import_module

        sys.path.append(os.getcwd())
        return import_module(f"sedd_core.cli.{command}").main(rest)
    if command == "plugins" and set(rest) <= {"--check", "--json"}:
        from .cli.doctor import list_plugins

        return list_plugins("--check" in rest, "--json" in rest)
    if command == "check":
        from .cli.check import main as check

        return check(rest)
    if command == "new":
        from .cli.new import main as new

        return new(rest)
    if command == "doctor" and not rest:
        from .cli.doctor import doctor

        return doctor()
    if command == "inspect" and len(rest) in (1, 2):
        from .checkpoints.description import main as inspect

        return inspect(*rest)
    if command == "export" and len(rest) in (2, 3, 4):
        from .checkpoints.export import main as export

        return export(*rest)
    if command in ("-h", "--help"):
        say(USAGE)
        return 0
    complain(f"error: '{' '.join([command, *rest])}' is not a command.\n{USAGE}")
    return 1


if __name__ == "__main__":
    main()
