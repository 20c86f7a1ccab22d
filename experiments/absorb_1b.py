"""SEDD absorb with 1B parameters on OpenWebText: weights, gradients, moments and average divided over the GPUs (FSDP2).

    python launch.py --fdl_config=experiments/absorb_1b.py

Otherwise identical to absorb_small; not a published run, and not run yet. `--dry_run ngpus=8` prints its plan for 8
GPUs of 80 GB. Expected cost: 5.5 GFLOP per token, 1.2e21 FLOP in total, about 4.2 days on 8 H100-80GB at 40% of
peak.
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from experiments.models import xl
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with the network of 1B parameters, divided, and smaller microbatches."""
    run = absorb_small()
    run.model = xl()
    run.training.parallel = "fsdp"
    run.training.microbatch = 8
    run.optimizer.lr = 2e-4
    return run
