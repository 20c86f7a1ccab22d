"""Run an experiment: python launch.py --fdl_config=experiments/quickstart.py"""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))  # a random.py beside this file does not shadow the standard library's
    from sedd_core.cli.main import entry

    entry()
