"""Run an experiment: python launch.py --fdl_config=experiments/quickstart.py"""

from sedd_core.cli.main import entry

if __name__ == "__main__":
    entry()
