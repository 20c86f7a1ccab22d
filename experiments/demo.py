"""The demo model: short stories in simple English, 2.9M parameters.

    python launch.py --fdl_config=experiments/demo.py data.paths=stories.txt

Text: TinyStories (Eldan and Li, arXiv 2305.07759), CDLA-Sharing-1.0, stories separated by blank lines; of a file, the
last twentieth is the validation data. Absorbing process, normalized head without time input, sequences of 256 tokens
of a byte-pair tokenizer of 2048 tokens learned on the text.
"""

import fiddle as fdl

from experiments.quickstart import config as quickstart
from sedd_core.cli import stage
from sedd_core.runs import Train


def config(path: str = "stories.txt") -> fdl.Config[Train]:
    """Config of the quickstart with stories, a larger network, and more updates.

    Args:
        path: Text file (UTF-8).
    """
    run = quickstart()
    run.data = stage("data_text", paths=(path,), valid_fraction=0.05, tokenizer="bpe", vocab=2048, length=256)
    run.head = stage("head_mean")
    run.model = stage("model_ddit", hidden_size=192, n_blocks=4, n_heads=6, cond_dim=64, dropout=0.05, reads="nothing")
    run.optimizer.lr = 1.5e-3
    run.training.steps = 20_000
    run.training.batch_size = 16
    run.training.ema_decay = 0.9995
    return run
