"""What simple models reach on the same text: character n-grams."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

Codes = Int64[np.ndarray, "..."]


def ngram_bits_per_character(train: str, valid: str | Sequence[str], order: int) -> float:
    """Bits per character of `valid` under the n-gram model of `train` with `order` characters of context.

    valid: one text, or several, each scored without what stands before it.
    Witten-Bell smoothing: in a context seen n times with u different successors,

        p_k(c | context) = (count(context, c) + u p_{k-1}(c | shorter context)) / (n + u)

    and p_{-1} is uniform over the characters of `train` and one that stands for all others. A context that
    was never seen, such as one with an unknown character or from before a text's start, leaves p_{k-1}.
    ValueError for an empty text, and for an order whose contexts do not fit into 64 bits.
    """
    texts = [valid] if isinstance(valid, str) else [text for text in valid if text]
    if not train or not any(texts):
        raise ValueError("an n-gram reference needs text to learn from and text to score")
    alphabet = np.unique(_codes(train))
    highest = int(63 / math.log2(len(alphabet) + 1)) - 1
    if not 0 <= order <= highest:
        raise ValueError(f"order must lie between 0 and {highest} for {len(alphabet)} characters, not {order}")
    seen, heard = np.searchsorted(alphabet, _codes(train)) + 1, [_places(alphabet, _codes(text)) for text in texts]
    probs = np.full(sum(map(len, heard)), 1.0 / (len(alphabet) + 1))
    for k in range(order + 1):
        probs = _refine(probs, seen, heard, k, len(alphabet) + 1)
    return float(-np.log2(probs).mean())


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)


def _places(alphabet: Codes, codes: Codes) -> Codes:
    """1 + the place in the alphabet; 0 for a character that is not in it."""
    place = np.searchsorted(alphabet, codes).clip(max=len(alphabet) - 1)
    return np.where(alphabet[place] == codes, place + 1, 0)


def _refine(
    probs: Float64[np.ndarray, " N"], seen: Codes, heard: Sequence[Codes], k: int, base: int
) -> Float64[np.ndarray, " N"]:
    """p_k at each character of `heard`, given p_{k-1} there.

    Before a text's start there is 0, as for an unknown character: `seen` without its first k has no such context.
    """
    if len(seen) <= k:
        return probs
    contexts = np.concatenate([_contexts(codes, k, base) for codes in heard])
    grams, counts = np.unique(_contexts(seen, k, base)[k:] * base + seen[k:], return_counts=True)
    owners, first, successors = np.unique(grams // base, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first)
    n, u = _look_up(owners, totals, contexts), _look_up(owners, successors, contexts)
    count = _look_up(grams, counts, contexts * base + np.concatenate(heard))
    return np.where(n > 0, (count + u * probs) / np.maximum(n + u, 1), probs)


def _contexts(codes: Codes, k: int, base: int) -> Codes:
    """The k characters before each, as one number."""
    padded = np.concatenate([np.zeros(k, dtype=np.int64), codes])
    context = np.zeros(len(codes), dtype=np.int64)
    for offset in range(k):
        context = context * base + padded[offset : offset + len(codes)]
    return context


def _look_up(keys: Codes, values: Codes, wanted: Codes) -> Codes:
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
