"""A run with one checkpoint, written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from head_score import ScoreHead
from tokenizers import Tokenizer, models

from sedd_core import checkpoints, plugin
from sedd_core.build.build import build
from sedd_core.model.ema import EMA
from sedd_core.model.score import ScoreModel
from sedd_core.record import Node, Record
from sedd_core.text.codec import Codec

SIZES = {"hidden_size": 16, "n_blocks": 1, "n_heads": 2, "cond_dim": 8}


ABSORB = Node("plugin", "graph_absorb", {"vocab_size": 5})


LOGLINEAR = Node("plugin", "noise_loglinear")


BOUND = "Likelihood bound of 2 sequences\nterm\tnats/token\nbound\t5.7352 ± 0.0122"


def write_run(folder: Path, graph: Node, noise: Node, scale: bool, **model: Any) -> Path:
    """A run folder with one checkpoint, of the last of 7 steps, its weights and averages drawn."""
    states = 5 + (graph.name == "graph_absorb")
    nodes = {
        "data": Node("plugin", "data_text", {"length": 4, "tokenizer": "bpe"}),
        "graph": graph,
        "noise": noise,
        "head": Node("plugin", "head_score", {"scale_by_sigma": scale}),
        "model": Node("plugin", "model_ddit", {**SIZES, "num_states": states, **model}),
        "training": Node("core", "Training", {"steps": 7, "batch_size": 32}),
    }
    parts = ScoreModel(
        plugin("model_ddit")(**nodes["model"].args),
        plugin(graph.name)(vocab_size=5),
        ScoreHead(scale_by_sigma=scale),
    )
    generator = torch.Generator().manual_seed(0)
    ema = EMA(parts.parameters(), 0.5)
    for parameter in parts.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    ema.update()
    codec = Codec(Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, unk_token="a")))
    record = Record(
        run=Node("core", "Train", nodes),
        command="launch.py --fdl_config=/home/me/secret.py",
        versions={"sedd-core": "0.1.0"},
        git={"commit": "1a86750", "diff": "-old"},
    )
    checkpoints.save(folder / "checkpoints" / "step_000000007", parts, build(noise), ema, codec, record)
    (folder / "validation.txt").write_text(BOUND + "\n")
    return folder
