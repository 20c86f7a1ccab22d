"""RADD on OpenWebText: the published run (Ou et al., arXiv 2406.03736; default config of ML-GSAI/RADD).

    python launch.py --fdl_config=experiments/radd_owt.py
    python launch.py --fdl_config=experiments/radd_owt.py:twin            # the same at a CPU's size

The network of absorb_small without time input and with a normalized output, 400k updates of 512 sequences of 1024
GPT-2 tokens, as the published models (their code's default: 1M). Expected cost: that of absorb_small.
The loss is the published lambda-DCE, the whole bound (hub: radd-lambda-dce). That of the other published model (hub:
radd-t-dce) is objective=score_entropy, but for its term n log expm1(sigma), which does not depend on the network;
objective.form=k has exact numbers of masks, with the same expectation and less variance.
What differs: their network has no adaptive layers but norms with a bias, and computes in float16 with a loss scale.
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from experiments.models import small
from experiments.quickstart import twin_of
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with RADD's head and dropout, and without time input."""
    run = absorb_small()
    run.head = stage("head_mean")  # log-softmax over the tokens
    run.objective = stage("objective_dce", form="lambda")
    run.model = small(dropout=0.02)  # configs/model/small_radd.yaml
    run.model.reads = "nothing"
    run.samples.steps = 1024  # sampling.steps
    return run


def twin() -> fdl.Config[Train]:
    """The run at a CPU's size."""
    return twin_of(config())
