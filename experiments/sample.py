"""Samples from a checkpoint: a run folder, one of its checkpoint folders, or a published model.

    python launch.py --fdl_config=experiments/sample.py --checkpoint=runs/quickstart/TIME

Expected cost: `steps` network calls per batch; seconds on a CPU for the quickstart's model.
"""

import fiddle as fdl

from sedd_core.cli import stage
from sedd_core.runs import Sample


def config() -> fdl.Config[Sample]:
    """Config of the run except the checkpoint, which is required."""
    return fdl.Config(Sample, sampler=stage("sampler_analytic"), steps=128, count=4, batch_size=4, seed=0)
