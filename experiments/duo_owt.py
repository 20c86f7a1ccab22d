"""Duo on OpenWebText: the published run without its curriculum (scripts/train_owt_duo.sh of s-sahoo/duo).

    python launch.py --fdl_config=experiments/duo_owt.py
    python launch.py --fdl_config=experiments/duo_owt.py:twin             # the same at a CPU's size

Process, head, network, data and optimizer are those of udlm_owt. What differs from the published run: its first 500,000
updates draw noised tokens as relaxed (softmax) vectors at a small temperature, a curriculum that this framework does
not have yet; the later ones are these.
"""

import fiddle as fdl

from experiments.quickstart import twin_of
from experiments.udlm_owt import config as udlm_owt
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of udlm_owt."""
    return udlm_owt()


def twin() -> fdl.Config[Train]:
    """The run at a CPU's size."""
    return twin_of(config())
