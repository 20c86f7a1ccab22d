"""SEDD absorb, small: the published run on OpenWebText (Lou et al. 2024, section 5; default config of their code).

    python launch.py --fdl_config=experiments/absorb_small.py

170M parameters, 400k updates of 512 sequences of 1024 GPT-2 tokens (2.1e11 tokens), on 8 A100-80GB as published.
Expected cost: 0.74 GFLOP per token, 1.5e20 FLOP in total, about 43 hours on 8 A100-80GB at 40% of peak.
Published zero-shot perplexity bounds: LAMBADA 50.92, WikiText-2 41.84, PTB 114.24, WikiText-103 40.62, 1BW 79.29.
"""

import fiddle as fdl

from experiments.models import small
from sedd_core.cli import stage
from sedd_core.runs import Train
from sedd_core.training import Checkpoints, Optimizer, Samples, Training


def config() -> fdl.Config[Train]:
    """Config of the complete run."""
    return fdl.Config(
        Train,
        data=stage(
            "data_hub",
            name="openwebtext",
            valid_name="wikitext103",
            tokenizer="gpt2",
            vocab=50257,
            length=1024,
        ),
        noise=stage("noise_loglinear", eps=1e-3),
        graph=stage("graph_absorb"),
        model=small(),
        head=stage("head_score", scale_by_sigma=True),
        objective=stage("objective_score_entropy"),
        sampler=stage("sampler_euler"),
        optimizer=fdl.Config(
            Optimizer, lr=3e-4, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, warmup=2500, clip=1.0
        ),
        training=fdl.Config(
            Training,
            steps=400_000,
            batch_size=512,
            microbatch=32,  # peak memory with every position in the loss: 20 GiB per GPU
            times="iid",
            t_min=1e-3,
            ema_decay=0.9999,
            eval_every=50_000,
        ),
        checkpoints=fdl.Config(Checkpoints, every=2500, keep=2, milestone_every=50_000),
        evaluator=stage("evaluator_bound", sequences=256, points=16),
        samples=fdl.Config(Samples, count=4, steps=128, t_min=1e-5),
        monitor=stage("monitor_tensorboard"),
        seed=0,
    )
