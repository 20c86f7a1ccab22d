"""A first run: SEDD with the absorbing process on the documentation of Python's standard library.

    python launch.py --fdl_config=experiments/quickstart.py

1.3M parameters; 1.8 MB of English prose and code, tokenized by byte-pair encoding with 1024 tokens; no downloads.
Expected cost: about 2 minutes on two cores. Expected result: about 3.0 bits per character on validation text.
"""

import fiddle as fdl

from experiments.models import tiny
from sedd_core.cli import stage
from sedd_core.runs import Train
from sedd_core.training import Checkpoints, Optimizer, Samples, Training


def config() -> fdl.Config[Train]:
    """Config of the complete run."""
    return fdl.Config(
        Train,
        data=stage("data_text", tokenizer="bpe", vocab=1024, length=128),
        noise=stage("noise_loglinear"),
        graph=stage("graph_absorb"),
        model=tiny(),
        head=stage("head_score", scale_by_sigma=True),
        objective=stage("objective_score_entropy"),
        sampler=stage("sampler_analytic"),
        optimizer=fdl.Config(Optimizer, lr=2e-3, beta2=0.95, warmup=100),
        training=fdl.Config(Training, steps=1500, batch_size=8, ema_decay=0.999, log_every=100),
        checkpoints=fdl.Config(Checkpoints, every=250),
        evaluator=stage("evaluator_bound", sequences=256, points=16, references=True),
        samples=fdl.Config(Samples, count=2, steps=128),
        monitor=stage("monitor_tensorboard"),
        seed=0,
    )


def twin_of(run: fdl.Config[Train]) -> fdl.Config[Train]:
    """Config of another run's process, head, network input, sampler and loss, at this run's size and on its data."""
    own = config()
    for stage_name in ("graph", "noise", "head", "objective", "sampler"):
        setattr(own, stage_name, getattr(run, stage_name))
    own.model.reads, own.training.times, own.training.t_min = run.model.reads, run.training.times, run.training.t_min
    return own
