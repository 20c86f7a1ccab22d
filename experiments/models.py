"""Named sizes of the published network, for the command line: `model=medium`."""

from typing import Any

import fiddle as fdl

from sedd_core.cli import stage


def tiny(dropout: float = 0.0) -> fdl.Buildable[Any]:
    """Tiny size for a CPU: about 1M parameters plus the embeddings."""
    return stage("model_ddit", hidden_size=144, n_blocks=3, n_heads=4, cond_dim=64, dropout=dropout)


def small(dropout: float = 0.1) -> fdl.Buildable[Any]:
    """Published small size: 170M parameters with GPT-2's vocabulary."""
    return stage("model_ddit", hidden_size=768, n_blocks=12, n_heads=12, cond_dim=128, dropout=dropout)


def medium(dropout: float = 0.1) -> fdl.Buildable[Any]:
    """Published medium size: 424M parameters with GPT-2's vocabulary."""
    return stage("model_ddit", hidden_size=1024, n_blocks=24, n_heads=16, cond_dim=128, dropout=dropout)


def xl(dropout: float = 0.1) -> fdl.Buildable[Any]:
    """Size for training.parallel=fsdp: 1.0B parameters with GPT-2's vocabulary; not a published one."""
    return stage("model_ddit", hidden_size=2048, n_blocks=16, n_heads=16, cond_dim=128, dropout=dropout)
