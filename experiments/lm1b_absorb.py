"""SEDD absorb on One Billion Word: the published run (Lou et al. 2024, section 5.1).

    python launch.py --fdl_config=experiments/lm1b_absorb.py
    python launch.py --fdl_config=experiments/lm1b_absorb.py data.train_file='lm1b/train-*.parquet' \
        data.valid_file=lm1b/test.parquet data.tokenizer=FOLDER                                 # without the hub

The network of absorb_small (139M parameters at this vocabulary), 1M updates of 512 sentences: each a sequence of its
own of 128 BERT tokens, its padding counted as data, as every token of the original's sequences of fixed length is.
(The original's code packs text into blocks: data.packing=packed. Sentences given their lengths,
data.padding=conditioned, are another task and another figure.) Expected cost: 0.66 GFLOP a token, 4e19 FLOP in all,
about 10 hours of 8 A100-80GB at half of their peak. What the paper leaves unsaid (dropout, average) is as on
OpenWebText.
Published: a perplexity of at most 32.79 (test split, which is what is validated on; autoregressive 31.98).
"""

import fiddle as fdl

from experiments.absorb_small import config as absorb_small
from sedd_core.cli import stage
from sedd_core.runs import Train


def config() -> fdl.Config[Train]:
    """absorb_small with other data, for longer."""
    run = absorb_small()
    run.data = stage(
        "data_hub", name="lm1b", tokenizer="bert-base-uncased", vocab=30522, packing="document", length=128
    )
    run.training.steps = 1_000_000
    run.training.microbatch = 256
    return run
