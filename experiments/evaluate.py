"""Figures of a checkpoint, with their errors: a run folder, one of its checkpoint folders, or a published model.

    python launch.py --fdl_config=experiments/evaluate.py --checkpoint=runs/quickstart/TIME

Under a named protocol (docs/evaluation.md), on a set of it:

    python -m sedd_core evaluate CHECKPOINT --protocol=duo --set=lambada --file=lambada_test.jsonl.gz

Other data than in training, with the checkpoint's tokenizer: data=text data.paths=... data.tokenizer=...
Expected cost: sequences x points x repeats network passes; about a minute on a CPU for the quickstart's model.
"""

import fiddle as fdl

from sedd_core.cli import stage
from sedd_core.evaluation import UNITS
from sedd_core.runs import Evaluate


def config() -> fdl.Config[Evaluate]:
    """Config of the run except the checkpoint, which is required."""
    evaluator = stage("evaluator_bound", sequences=256, points=4, repeats=4, units=UNITS)
    return fdl.Config(Evaluate, evaluator=evaluator, seed=0)
