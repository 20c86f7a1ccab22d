"""Small trainers for tests."""

from __future__ import annotations

import torch
from head_score import ScoreHead
from objective_score_entropy import ScoreEntropy

from sedd_core import plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.model.score import ScoreModel
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer


def trainer(graph: str, noise: str, *, scale: bool, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    process = plugin(f"graph_{graph}")(vocab_size=4)
    backbone = plugin("model_ddit")(
        num_states=process.num_states, hidden_size=32, n_blocks=1, n_heads=2, cond_dim=16, dropout=0.0
    )
    model = ScoreModel(backbone, process, ScoreHead(scale_by_sigma=scale))
    tokens = torch.arange(4).repeat(200)  # 0 1 2 3 0 1 2 3: nothing to guess once one token is seen
    settings = Optimizer(lr=3e-3, warmup=10), Training(steps=1, batch_size=16)
    return Trainer(model, plugin(f"noise_{noise}")(), ScoreEntropy(), PackedSequences(tokens, 8), *settings, seed=seed)
