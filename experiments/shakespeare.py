"""Character-level training on a text file of your own; its last tenth is the validation data.

    python launch.py --fdl_config='experiments/shakespeare.py:config(path="input.txt")'
    python launch.py --fdl_config=experiments/shakespeare.py data.paths=input.txt

For Tiny Shakespeare (1.1 MB, 65 characters): 1.0M parameters, 3000 updates of 16 sequences of 128 characters.
Result of version 0.1.0: at most 2.97 ± .02 bits per character (n-grams of 1, 2 and 3 characters: 4.82, 3.59, 2.88),
measured on the first sequences of the validation split; newer versions spread them over the split. Cost: 6 minutes on
two idle cores; 18 minutes measured on one thread of a busy machine.
"""

import fiddle as fdl

from experiments.quickstart import config as quickstart
from sedd_core.cli import stage
from sedd_core.runs import Train


def config(path: str = "input.txt") -> fdl.Config[Train]:
    """Config of the quickstart with a text file as data.

    Args:
        path: Text file (UTF-8).
    """
    run = quickstart()
    run.data = stage("data_text", paths=(path,), tokenizer="char", length=128)
    run.training.steps = 3000
    run.training.batch_size = 16
    return run
