"""MDLM on OpenWebText: the published run (Sahoo et al., arXiv 2406.07524; default config of kuleshov-group/mdlm).

    python launch.py --fdl_config=experiments/mdlm_owt.py
    python launch.py --fdl_config=experiments/mdlm_owt.py:twin            # the same at a CPU's size

The network of absorb_small without time input, 1M updates of 512 sequences of 1024 GPT-2 tokens (5.2e11 tokens),
validated on the last 100,000 documents. Expected cost: 2.5 times that of absorb_small.
The loss is the published one: score entropy under head_mean equals MDLM's weighted cross-entropy term by term, and
stratified times are its low-discrepancy sampler. What differs: their sequences begin with BOS and end with EOS.
Published perplexity bound on the validation split: 23.21 (22.95 rerun by Duo's authors, duo#12).
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from experiments.quickstart import twin_of
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with MDLM's head, data split and number of updates."""
    run = absorb_small()
    run.data = stage(
        "data_hub", name="openwebtext", valid_documents=100_000, tokenizer="gpt2", vocab=50257, length=1024
    )  # configs/data/openwebtext-split.yaml
    run.head = stage("head_mean")  # parameterization: subs
    run.model.reads = "nothing"  # time_conditioning: False
    run.sampler = stage("sampler_analytic")  # predictor: ddpm, which equals it
    run.training.steps = 1_000_000  # trainer.max_steps
    run.training.times = "stratified"  # training.antithetic_sampling: True
    run.samples.steps = 128  # sampling.steps
    return run


def twin() -> fdl.Config[Train]:
    """The run at a CPU's size."""
    return twin_of(config())
