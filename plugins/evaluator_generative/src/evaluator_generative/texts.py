"""Texts of several processes, with what the judge says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sedd_core import UserError
from sedd_core.text import Codec

from .judge import Judge, Scores


@dataclass(frozen=True)
class Text:
    """A text: its place among all, its tokens by the model's tokenizer, and the judge's scores of it."""

    index: int
    tokens: list[int]
    scores: Scores
    feature: Tensor | None


def judged(
    tokens: Sequence[list[int]], indices: Sequence[int], codec: Codec, judge: Judge, longest: int, *, features: bool
) -> list[Text]:
    """Score texts.

    Args:
        tokens: Tokens of each text, by the model's tokenizer.
        indices: Place of each text among all.
        codec: The model's tokenizer.
        judge: The judge; it reads the decoded text by its own tokenizer.
        longest: Largest number of the judge's tokens of a text that are scored.
        features: Whether the judge's features are kept.
    """
    found = []
    for index, row in zip(indices, tokens, strict=True):
        ids = judge.tokens(codec.decode(row), longest)
        feature = judge.features(ids) if features and len(ids) else None
        found.append(Text(index, row, judge.score(ids), feature))
    return found


def together(parts: Sequence[Sequence[Text]]) -> list[Text]:
    """The texts of all processes, in order."""
    return sorted((one for part in parts for one in part), key=lambda one: one.index)


def tokens_of(file: str, codec: Codec) -> list[list[int]]:
    """Tokens of the samples in a file that a sampling run wrote.

    Args:
        file: JSON lines with a text each (format=jsonl).
        codec: The model's tokenizer.

    Raises:
        UserError: It is missing or of another form, or has fewer than two texts.
    """
    try:
        texts = [json.loads(line)["text"] for line in Path(file).read_text(encoding="utf-8").splitlines() if line]
        found = [codec.encode(text) for text in texts]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"evaluator.file={file} cannot be read as samples ({error}): give the samples.jsonl that a sampling run "
            "with format=jsonl writes."
        ) from error
    if len(found) < 2:
        raise UserError(f"evaluator.file={file} has {len(found)} texts: two are needed for an error.")
    return found
