"""Limits on the numbers in a record, so that no file can occupy a process without bound."""

from __future__ import annotations

MOST_PARAMETERS = 10_000
"""Maximum number of parameter tensors of a network: about 1,000 blocks, built on the meta device in seconds."""
MOST_TOKENS = 2**24
"""Maximum vocabulary size, about 100 times the largest in use."""
MOST_LENGTH = 2**20
"""Maximum number of tokens per sequence that a record may state."""
LARGEST_SEED = 2**63
"""Exclusive upper bound of seeds, set by torch."""
