"""Quality of a checkpoint's samples against the number of sampling steps.

    python launch.py --fdl_config=experiments/generative.py --checkpoint=runs/quickstart/TIME evaluator.judge=FOLDER

The judge is a causal language model of transformers: a folder, a .gguf file, or a hub id such as gpt2-large. Samples of
other samplers: evaluator.sampler=euler. MAUVE: evaluator.mauve=true.
Expected cost: count x the sum of the steps network calls, and two passes of the judge per sample.
"""

import fiddle as fdl

from sedd_core.cli import stage
from sedd_core.runs import Evaluate


def config() -> fdl.Config[Evaluate]:
    """Config of the run except the checkpoint and the judge, which are required."""
    evaluator = stage(
        "evaluator_generative", sampler=stage("sampler_analytic"), steps=(16, 64, 256), count=64, batch_size=16
    )
    return fdl.Config(Evaluate, evaluator=evaluator, monitor=stage("monitor_tensorboard"), seed=0)
