"""`python -m sedd_core launch | plugins | doctor | export`: `launch.py` from anywhere, and what goes with it."""

from __future__ import annotations

import sys

USAGE = """usage: python -m sedd_core launch [flags of launch.py]
       python -m sedd_core plugins [--check] [--json]
       python -m sedd_core doctor
       python -m sedd_core export RUN FOLDER"""


def main() -> None:
    """Dispatch to a command."""
    command, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if command == "launch":
        from .cli.main import main as launch

        sys.path.insert(0, "")
        sys.exit(launch([f"{sys.argv[0]} launch", *rest]))
    if command == "plugins" and set(rest) <= {"--check", "--json"}:
        from .doctor import list_plugins

        sys.exit(list_plugins("--check" in rest, "--json" in rest))
    if command == "doctor" and not rest:
        from .doctor import doctor

        sys.exit(doctor())
    if command == "export" and len(rest) == 2:
        from .export import main as export

        sys.exit(export(*rest))
    print(USAGE, file=sys.stderr)
    sys.exit(0 if command in ("-h", "--help") else 1)


if __name__ == "__main__":
    main()
