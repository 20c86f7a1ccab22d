"""Character n-grams: proper laws, and a case done by hand."""

from __future__ import annotations

import math

import pytest

from sedd_core.evaluation.ngrams import ngram_bits_per_character


def test_by_hand() -> None:
    """Train "aab": p(a) = (2 + 2/3) / (3 + 2), p(b) = (1 + 2/3) / 5, anything else (2/3) / 5."""
    probabilities = {"a": 8 / 15, "b": 5 / 15, "z": 2 / 15}
    for character, probability in probabilities.items():
        assert ngram_bits_per_character("aab", character, 0) == pytest.approx(-math.log2(probability))
    assert sum(probabilities.values()) == pytest.approx(1)


def test_one_character_of_context_by_hand() -> None:
    """Train "aab": after a, a and b once each. At a start, and after an unknown character, nothing is known."""
    base = 8 / 15
    after_a = (1 + 2 * base) / (2 + 2)
    for text, probabilities in {"aa": [base, after_a], "za": [2 / 15, base], "aza": [base, 4 / 15 / 4, base]}.items():
        bits = -sum(map(math.log2, probabilities)) / len(text)
        assert ngram_bits_per_character("aab", text, 1) == pytest.approx(bits), text


def slow(train: str, texts: list[str], order: int) -> float:
    """Character by character."""
    alphabet = set(train)

    def probability(character: str, context: str) -> float:
        """After a context, the shorter ones' law where it was never seen."""
        shorter = 1 / (len(alphabet) + 1) if not context else probability(character, context[1:])
        after = [train[i + len(context)] for i in range(len(train) - len(context)) if train[i:].startswith(context)]
        if not after:
            return shorter
        return (after.count(character) + len(set(after)) * shorter) / (len(after) + len(set(after)))

    known = [[c if c in alphabet else "?" for c in text] for text in texts]
    law = [probability(c, "".join(text[max(i - order, 0) : i])) for text in known for i, c in enumerate(text)]
    return -sum(map(math.log2, law)) / len(law)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_as_counted_slowly(order: int) -> None:
    """Texts that do not follow each other, with unknown characters, and shorter than the context."""
    train, texts = "abracadabra, abracadabra", ["abra", "zabrazaab", "", "rac", "a"]
    assert ngram_bits_per_character(train, texts, order) == pytest.approx(slow(train, texts, order))
    assert ngram_bits_per_character("aab", texts, order) == pytest.approx(slow("aab", texts, order))


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
        ("", "abc", 1, "needs a training text"),
        ("abc", "", 1, "needs a training text"),
        ("abc", "abc", -1, "order must lie between 0 and"),
        ("".join(map(chr, range(0x4E00, 0x9000))), "abc", 4, "order must lie between 0 and 3"),
    ],
)
def test_what_cannot_be_counted_is_refused(train: str, valid: str, order: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ngram_bits_per_character(train, valid, order)
