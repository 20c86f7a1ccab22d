"""`python -m sedd_core launch ...`: `launch.py` from anywhere. `python -m sedd_core plugins`: what is installed."""

from __future__ import annotations

import sys

USAGE = "usage: python -m sedd_core launch [flags of launch.py] | python -m sedd_core plugins"


def main() -> None:
    """Dispatch to a command."""
    command, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if command == "launch":
        from .cli.main import main as launch

        sys.path.insert(0, "")
        sys.exit(launch([f"{sys.argv[0]} launch", *rest]))
    if command == "plugins" and not rest:
        from .plugins import installed

        for name, owners in installed().items():
            print(f"{name:<20}", "  ".join(f"{owner.distribution} {owner.version}" for owner in owners))
        return
    print(USAGE, file=sys.stderr)
    sys.exit(0 if command in ("-h", "--help") else 1)


if __name__ == "__main__":
    main()
