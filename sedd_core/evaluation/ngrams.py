"""Reference: bits per character of character n-gram models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

Codes = Int64[np.ndarray, "..."]


def ngram_bits_per_character(train: str, valid: str | Sequence[str], order: int) -> float:
    """Bits per character of `valid` under the n-gram model of `train` with `order` characters of context.

    Witten-Bell smoothing: in a context with n occurrences and u distinct successors,

        p_k(c | context) = (count(context, c) + u p_{k-1}(c | shorter context)) / (n + u)

    and p_{-1} is uniform over the characters of `train` and one further symbol for all other characters. In a
    context without occurrences (with an unknown character, or before a text's start), p_k = p_{k-1}.

    Args:
        train: Text that the counts are taken from.
        valid: One text, or several texts that are scored independently.
        order: Number of characters of context.

    Raises:
        ValueError: A text is empty, or contexts of this order do not fit into 64 bits.

    Source: Witten and Bell, "The zero-frequency problem" (IEEE Trans. Inf. Theory, 1991), method C.
    """
    texts = [valid] if isinstance(valid, str) else [text for text in valid if text]
    if not train or not any(texts):
        raise ValueError("the n-gram reference needs a training text and a text to score")
    alphabet = np.unique(_codes(train))
    highest = int(63 / math.log2(len(alphabet) + 1)) - 1
    if not 0 <= order <= highest:
        raise ValueError(f"order must lie between 0 and {highest} for {len(alphabet)} characters, not {order}")
    seen = np.searchsorted(alphabet, _codes(train)) + 1
    scored = [_symbols(alphabet, _codes(text)) for text in texts]
    probs = np.full(sum(map(len, scored)), 1.0 / (len(alphabet) + 1))
    for k in range(order + 1):
        probs = _refine(probs, seen, scored, k, len(alphabet) + 1)
    return float(-np.log2(probs).mean())


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)


def _symbols(alphabet: Codes, codes: Codes) -> Codes:
    """1 + index in the alphabet; 0 for other characters."""
    index = np.searchsorted(alphabet, codes).clip(max=len(alphabet) - 1)
    return np.where(alphabet[index] == codes, index + 1, 0)


def _refine(
    probs: Float64[np.ndarray, " N"], seen: Codes, scored: Sequence[Codes], k: int, base: int
) -> Float64[np.ndarray, " N"]:
    """p_k at each character of `scored`, from p_{k-1}.

    Contexts before a text's start are padded with 0, as are unknown characters: `seen[k:]` has no such context.
    """
    if len(seen) <= k:
        return probs
    contexts = np.concatenate([_contexts(codes, k, base) for codes in scored])
    grams, counts = np.unique(_contexts(seen, k, base)[k:] * base + seen[k:], return_counts=True)
    owners, first, successors = np.unique(grams // base, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first)
    n, u = _look_up(owners, totals, contexts), _look_up(owners, successors, contexts)
    count = _look_up(grams, counts, contexts * base + np.concatenate(scored))
    return np.where(n > 0, (count + u * probs) / np.maximum(n + u, 1), probs)


def _contexts(codes: Codes, k: int, base: int) -> Codes:
    """The k characters before each position, as one number."""
    padded = np.concatenate([np.zeros(k, dtype=np.int64), codes])
    context = np.zeros(len(codes), dtype=np.int64)
    for offset in range(k):
        context = context * base + padded[offset : offset + len(codes)]
    return context


def _look_up(keys: Codes, values: Codes, queries: Codes) -> Codes:
    index = np.searchsorted(keys, queries).clip(max=len(keys) - 1)
    return np.where(keys[index] == queries, values[index], 0)
