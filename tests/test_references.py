"""Character n-grams: proper laws, and a case done by hand."""

from __future__ import annotations

import math

import pytest

from sedd_core.references import ngram_bits_per_character


def test_by_hand() -> None:
    """Train "aab": p(a) = (2 + 2/3) / (3 + 2), p(b) = (1 + 2/3) / 5, anything else (2/3) / 5."""
    probabilities = {"a": 8 / 15, "b": 5 / 15, "z": 2 / 15}
    for character, probability in probabilities.items():
        assert ngram_bits_per_character("aab", character, 0) == pytest.approx(-math.log2(probability))
    assert sum(probabilities.values()) == pytest.approx(1)


def test_one_character_of_context_by_hand() -> None:
    """Train "aab", context a (seen once as a start of "aa", once of "ab"; the start is its own context)."""
    base = 8 / 15
    expected = [(1 + 1 * base) / (1 + 1), (1 + 2 * base) / (2 + 2)]  # "a" at the start, then "a" after "a"
    bits = -sum(map(math.log2, expected)) / 2
    assert ngram_bits_per_character("aab", "aa", 1) == pytest.approx(bits)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_laws_sum_to_one(order: int) -> None:
    train, context = "abracadabra, abracadabra", "abr"
    alphabet = [*sorted(set(train)), "z"]

    def bits(text: str) -> float:
        return ngram_bits_per_character(train, text, order) * len(text)

    total = sum(2 ** -(bits(context + character) - bits(context)) for character in alphabet)
    assert total == pytest.approx(1)


def test_more_context_helps_where_there_is_structure() -> None:
    text = "abcabd" * 200
    orders = [ngram_bits_per_character(text, text, order) for order in range(4)]
    assert orders == sorted(orders, reverse=True)
    assert orders[3] < 0.1


@pytest.mark.parametrize(
    ("train", "valid", "order", "words"),
    [
        ("", "abc", 1, "needs text"),
        ("abc", "", 1, "needs text"),
        ("abc", "abc", -1, "order must lie between 0 and"),
        ("".join(map(chr, range(0x4E00, 0x9000))), "abc", 4, "order must lie between 0 and 3"),
    ],
)
def test_what_cannot_be_counted_is_refused(train: str, valid: str, order: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ngram_bits_per_character(train, valid, order)
