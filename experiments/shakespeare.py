"""A text of one's own, in characters: a file by its path, the last tenth validated on.

    python launch.py --fdl_config='experiments/shakespeare.py:config(path="input.txt")'
    python launch.py --fdl_config=experiments/shakespeare.py data.paths=input.txt

Written for Tiny Shakespeare (1.1 MB, 65 characters). 1.0M parameters, 3000 updates of 16 sequences of 128 characters.
Result of version 0.1.0 there: at most 2.97 ± .02 bits per character (n-grams of 1, 2 and 3 characters: 4.82, 3.59,
2.88; validated on the first sequences of the split, where now they are spread over it), after
6 minutes on two idle cores; measured on one thread of a busy machine, 18 minutes.
"""

import fiddle as fdl

from experiments.quickstart import config as quickstart
from sedd_core.cli import stage
from sedd_core.runs import Train


def config(path: str = "input.txt") -> fdl.Config[Train]:
    """The quickstart's network on a text file."""
    run = quickstart()
    run.data = stage("data_text", paths=(path,), tokenizer="char", length=128)
    run.training.steps = 3000
    run.training.batch_size = 16
    return run
