"""UDLM on OpenWebText: Duo's baseline run (algo=duo_base of s-sahoo/duo; Schiff et al., arXiv 2412.10193).

    python launch.py --fdl_config=experiments/udlm_owt.py
    python launch.py --fdl_config=experiments/udlm_owt.py:twin            # the same at a CPU's size

The network of absorb_small on the uniform process, given sigma, 1M updates of 512 sequences of 1024 GPT-2 tokens.
Expected cost: 2.5 times that of uniform_small.
The loss is the published one: score entropy under head_mean equals the bound of UDLM and Duo term by term. What
differs: their sequences begin with BOS and end with EOS, and their processes have one state more, a padding token that
is never data.
UDLM's own code trains with its bound at alpha = 1 - t, on data noised at alpha = 1 - 0.999 t; here both are the latter.
"""

import fiddle as fdl

from experiments.mdlm_owt import config as mdlm_owt
from experiments.quickstart import twin_of
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of mdlm_owt with the uniform process and sigma as input."""
    run = mdlm_owt()
    run.graph = stage("graph_uniform")
    run.model.reads = "sigma"  # time_conditioning: True
    run.samples.steps = 1000  # sampling.steps
    return run


def twin() -> fdl.Config[Train]:
    """The run at a CPU's size."""
    return twin_of(config())
