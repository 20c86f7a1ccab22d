"""What a figure was measured on: the size and the hash of a set of sequences."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from ..stages import Sequences

AT_ONCE = 256
"""Sequences to hash at a time."""


@dataclass(frozen=True)
class SetFacts:
    """Size and content of a set of sequences."""

    sequences: int
    """Number of sequences."""
    length: int
    """Positions per sequence."""
    tokens: int
    """Number of tokens of text, without padding."""
    scored: int
    """Number of tokens that are noised and scored, padding included where it is."""
    sha256: str
    """Hash of all tokens, of what is text and of what is scored; independent of the machine."""

    def __str__(self) -> str:
        return (
            f"{self.sequences:,} sequences of {self.length}, {self.tokens:,} tokens of text, {self.scored:,} scored, "
            f"sha256 {self.sha256[:16]}"
        )


def facts_of(sequences: Sequences) -> SetFacts:
    """The facts of a set, by one pass over it.

    Args:
        sequences: Set of sequences, at least one.
    """
    hashed, tokens, scored, length = hashlib.sha256(), 0, 0, 0
    for indices in torch.arange(len(sequences)).split(AT_ONCE):
        batch = sequences.batch(indices)
        text, loss = batch.full_text_mask(), batch.full_loss_mask()
        tokens, scored, length = tokens + int(text.sum()), scored + int(loss.sum()), batch.tokens.shape[1]
        rows = torch.stack([batch.tokens, text.long(), loss.long()], 1).to(torch.int32)
        hashed.update(rows.numpy().astype("<i4").tobytes())
    return SetFacts(len(sequences), length, tokens, scored, hashed.hexdigest())
