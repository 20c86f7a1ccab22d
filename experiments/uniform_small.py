"""SEDD uniform, small: the published run on OpenWebText (Lou et al. 2024, section 5; command in their README).

    python launch.py --fdl_config=experiments/uniform_small.py

Geometric noise schedule from 1e-4 (1e-5 in the paper) to 20, and unscaled scores; otherwise identical to
absorb_small. Every position counts in the loss, so the head runs on all of them. Expected cost: 0.85 GFLOP per token,
1.8e20 FLOP in total, about 50 hours on 8 A100-80GB at 40% of peak.
Published zero-shot perplexity bounds: LAMBADA 65.40, WikiText-2 50.27, PTB 140.12, WikiText-103 49.60, 1BW 101.37.
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with the uniform graph and the geometric noise schedule."""
    run = absorb_small()
    run.noise = stage("noise_geometric", sigma_min=1e-4, sigma_max=20.0)
    run.graph = stage("graph_uniform")
    run.head.scale_by_sigma = False
    return run
