"""SEDD absorb on One Billion Word: the published run (Lou et al. 2024, section 5.1).

    python launch.py --fdl_config=experiments/lm1b_absorb.py
    python launch.py --fdl_config=experiments/lm1b_absorb.py data.train_file='lm1b/train-*.parquet' \
        data.valid_file=lm1b/test.parquet data.tokenizer=FOLDER                                 # without the hub

The network of absorb_small (139M parameters with this vocabulary), 1M updates of 512 sentences. Each sentence is one
sequence of 128 BERT tokens whose padding counts as data, since the original's loss counts every token of its
fixed-length sequences. (The original code packs text into blocks: data.packing=packed. Sentences conditioned on their
lengths, data.padding=conditioned, are a different task with a different figure.) Expected cost: 0.59 GFLOP per token,
3.9e19 FLOP in total, about 11 hours on 8 A100-80GB at 40% of peak. Settings that the paper does not state (dropout,
weight averaging) are those of OpenWebText.
Published: perplexity at most 32.79 (test split, which is also the validation data here; autoregressive 31.98).
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """Config of absorb_small with other data and more updates."""
    run = absorb_small()
    run.data = stage(
        "data_hub", name="lm1b", tokenizer="bert-base-uncased", vocab=30522, packing="document", length=128
    )
    run.training.steps = 1_000_000
    run.training.microbatch = 256
    return run
