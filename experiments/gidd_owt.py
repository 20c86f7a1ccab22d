"""GIDD on OpenWebText, small, p_uniform 0.1 (von Rütte et al., arXiv 2503.04482; code dvruette/gidd).

    python launch.py --fdl_config=experiments/gidd_owt.py
    python launch.py --fdl_config=experiments/gidd_owt.py graph.p_uniform=0.2 noise.p_uniform=0.2
    python launch.py --fdl_config=experiments/gidd_owt.py:twin            # the same at a CPU's size

The network of absorb_small, given t; one document per sequence of 512 GPT-2 tokens, padding left out of the loss, 131B
tokens (their README). Optimizer as in their configs/optimizer/adam.yaml, quoted by a repository derived from theirs;
dropout and averaging from memory, unverified. Expected cost: 0.6 times that of absorb_small.
The loss is the published one, with "dynamic" weights in place of the bound's: it is not the bound, whose figures
evaluations report; objective.weight=elbo trains on the bound. What differs: long documents are cut at 512 tokens, where
theirs take a random part.
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from experiments.models import small
from experiments.quickstart import twin_of
from sedd_core.cli import stage
from sedd_core.runs import Train
from sedd_core.training import Optimizer


def config() -> fdl.Config[Train]:
    """Config of absorb_small with GIDD's process, schedule, head, input, data and optimizer."""
    run = absorb_small()
    run.data = stage(
        "data_hub",
        name="openwebtext",
        valid_documents=100_000,
        tokenizer="gpt2",
        vocab=50257,
        packing="document",
        padding="conditioned",
        length=512,
    )
    run.graph = stage("graph_gidd", p_uniform=0.1)
    run.noise = stage("noise_gidd", p_uniform=0.1)
    run.head = stage("head_mean")
    run.objective = stage("objective_score_entropy", weight="dynamic")
    run.model = small(dropout=0.0)
    run.model.reads = "time"
    run.sampler = stage("sampler_analytic")
    run.optimizer = fdl.Config(
        Optimizer,
        lr=5e-4,
        beta1=0.9,
        beta2=0.99,
        eps=1e-9,
        weight_decay=0.02,
        warmup=10_000,
        schedule="cosine",
        clip=1.0,
    )
    run.training.steps = 500_000
    run.training.microbatch = 64
    run.training.times = "stratified"  # low_discrepancy_sampling: true
    run.training.t_min = 1e-4
    return run


def twin() -> fdl.Config[Train]:
    """The run at a CPU's size."""
    return twin_of(config())
