"""Train a tiny causal model, to be adapted by experiments/adapt_ar.py.

    python scripts/causal_model.py out/causal                     1 minute on an idle core
    python scripts/causal_model.py out/causal --steps=2000

A Llama over characters, on the training split of the docstrings of Python's standard library: 0.3M parameters.
The folder is one of transformers: config.json, model.safetensors, and the tokenizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from sedd_core import plugin
from sedd_core.console import say
from sedd_core.maths import Draws

LENGTH, BATCH = 128, 16


def train(folder: Path, steps: int, length: int = LENGTH, seed: int = 0) -> float:
    """Train the model and write its folder.

    Args:
        folder: Folder to write.
        steps: Number of updates of 16 sequences.
        length: Characters per sequence.
        seed: Random seed.

    Returns:
        Mean loss of the last tenth of the updates, in nats per character.
    """
    torch.manual_seed(seed)
    data = plugin("data_text")(tokenizer="char", length=length)
    sequences, codec = data.split("train"), data.codec()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=codec.vocab_size,
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=length,
            tie_word_embeddings=False,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    losses = list[float]()
    for step in range(steps):
        uniform = Draws(seed, torch.arange(BATCH), step).uniform("sequence")
        tokens = sequences.batch((uniform * len(sequences)).long()).tokens
        logits = model(tokens[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)
        optimizer.step()
        losses.append(loss.item())
    model.save_pretrained(folder)
    codec.tokenizer.save(str(folder / "tokenizer.json"))
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--steps", type=int, default=800, help="number of updates (800)")
    asked = parser.parse_args()
    say(f"{asked.folder}: {train(asked.folder, asked.steps):.3f} nats per character, next-character loss in training")
