"""Limits on the numbers in a record: a file must not be able to occupy a process forever."""

from __future__ import annotations

MOST_PARAMETERS = 10_000
"""Parameter tensors of a network: about 1,000 blocks, built on the meta device in a few seconds."""
MOST_TOKENS = 2**24
"""Tokens of a vocabulary, about 100 times those of the largest in use."""
MOST_LENGTH = 2**20
"""Tokens of a sequence that a model may state to be trained on."""
LARGEST_SEED = 2**63
"""Seeds are smaller: torch takes no others."""
