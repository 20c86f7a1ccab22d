"""An autoregressive model adapted into a diffusion model (Gong et al., arXiv 2410.17891): GPT-2 on OpenWebText.

    python launch.py --fdl_config=experiments/adapt_ar.py
    python launch.py --fdl_config='experiments/adapt_ar.py:config(base="FOLDER")'   # another causal model's folder

The network is that of the causal model without its causal mask, with its head's logits one position on (`shift`),
and a mask that starts at the mean embedding; `init_from` takes its weights. The loss is MDLM's. Hyperparameters are
those of mdlm_owt with a lower learning rate and fewer updates; the paper's, for other text, are not restated here.

At a CPU's size, with a causal model that scripts/causal_model.py makes in a minute, beside training from scratch:

    python scripts/causal_model.py out/causal
    python launch.py --fdl_config='experiments/adapt_ar.py:twin(base="out/causal")' init_from=out/causal,None seed=0,1,2

Measured (100 updates each, 3 seeds, one CPU thread, 8 minutes on a busy machine): at most 3.925 +- .012 bits per
character adapted, 4.443 +- .007 from scratch. The causal model's own 800 updates are not counted.
"""

import json
from pathlib import Path

import fiddle as fdl

from experiments.mdlm_owt import config as mdlm_owt
from experiments.quickstart import twin_of
from sedd_core.cli import stage
from sedd_core.runs import Train


def config(base: str = "gpt2") -> fdl.Config[Train]:
    """Config of mdlm_owt with a causal model's network and weights.

    Args:
        base: Folder of a causal model with its tokenizer, or a hub id of GPT-2 small.
    """
    run = mdlm_owt()
    file = Path(base, "config.json")
    architecture = json.loads(file.read_text()) if file.is_file() else {"model_type": "gpt2"}
    run.model = stage("model_hf", config=json.dumps(architecture, sort_keys=True), shift=True)
    run.init_from = base
    run.optimizer.lr = 1e-4
    run.training.steps = 50_000
    return run


def twin(base: str) -> fdl.Config[Train]:
    """The run at a CPU's size: 100 updates on the docstrings of Python's standard library.

    Args:
        base: Folder of a causal model, from scripts/causal_model.py.
    """
    run = config(base)
    own = twin_of(run)
    own.model, own.init_from = run.model, run.init_from
    own.data = stage("data_text", tokenizer="char", length=128)
    own.training.steps, own.training.batch_size = 100, 16
    own.optimizer.warmup = 10
    own.evaluator.sequences = 128
    own.evaluator.references = False
    return own
