"""Sequences of tokens, cut from one run or one per document."""

from __future__ import annotations

import re
from glob import has_magic
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from ..stages.data import Batch, Sequences
from ..text.files import COMPRESSED

Padding = Literal["counted", "conditioned"]
LongDocuments = Literal["cut", "split"]


class PackedSequences(Sequences):
    """One long run of tokens, cut into sequences of equal length.

    Args:
        tokens: Run of token ids [N]; a remainder below `length` at its end is dropped.
        length: Tokens per sequence, L.
        ends: End position of each document in `tokens` [D], to keep the documents of a sequence separate. Figures are
            then conditional on their boundaries, which the network is given. None: documents are joined.
    """

    def __init__(
        self, tokens: Int64[Tensor, " N"] | Tensor, length: int, ends: Int64[Tensor, " D"] | None = None
    ) -> None:
        self.tokens = tokens[: len(tokens) // length * length].view(-1, length)
        self.ends = ends
        self.conditioned_on = "" if ends is None else "boundaries"

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The sequences at `indices` [B] as int64 tokens [B, L], with the document of each where they are separate."""
        tokens = self.tokens[indices].to(torch.int64)
        if self.ends is None:
            return Batch(tokens)
        length = tokens.shape[1]
        documents = torch.searchsorted(self.ends, indices[:, None] * length + torch.arange(length), right=True)
        return Batch(tokens, documents=documents - documents[:, :1])


class DocumentSequences(Sequences):
    """One document per sequence, followed by padding where it is shorter than `length`.

    Each document includes its final end-of-text token; the same token is the padding.

    Args:
        tokens: Token ids of all documents in one run [N].
        ends: End position of each document in `tokens` [D].
        length: Tokens per sequence, L.
        padding: Treatment of padding: "counted" as data like any token, so that figures describe documents and their
            lengths; or "conditioned", given together with the end-of-text token before it, so that figures describe
            documents given their lengths. Figures are per token of text and end-of-text in both cases.
        long_documents: Treatment of documents with more than L tokens: "cut" uses the first L tokens; "split" makes
            several sequences.
    """

    def __init__(
        self,
        tokens: Integer[Tensor, " N"],
        ends: Int64[Tensor, " D"],
        length: int,
        padding: Padding = "counted",
        long_documents: LongDocuments = "cut",
    ) -> None:
        self.tokens, self.ends, self.length, self.padding = tokens, ends, length, padding
        self.conditioned_on = "lengths" if padding == "conditioned" else ""
        self._last = None  # by document: number of sequences up to and including its last
        if long_documents == "split":
            self._last = self._lengths().sub(1).div(length, rounding_mode="floor").add(1).cumsum(0)

    def __len__(self) -> int:
        if self._last is None:
            return len(self.ends)
        return int(self._last[-1]) if len(self._last) else 0

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The sequences at `indices` [B] as int64 tokens [B, L], with their loss mask and text positions."""
        documents, parts = indices, torch.zeros_like(indices)
        if self._last is not None:
            documents = torch.searchsorted(self._last, indices, right=True)
            parts = indices - self._before(self._last, documents)
        starts = self._before(self.ends, documents) + parts * self.length
        positions = starts[:, None] + torch.arange(self.length)
        ends = self.ends[documents][:, None]
        text, final = positions < ends, len(self.tokens) - 1  # the run's last token ends a document
        tokens = self.tokens[torch.where(text, positions, final)].to(torch.int64)
        loss_mask = (positions < ends - 1) | (text & (tokens != self.tokens[final].to(torch.int64)))
        return Batch(tokens, loss_mask if self.padding == "conditioned" else None, text=text)

    def cut_off(self) -> tuple[int, int]:
        """Number of documents that are longer than a sequence, and number of their tokens that are dropped."""
        beyond = self._lengths().sub(self.length).clamp(min=0)
        return (0, 0) if self._last is not None else (int(beyond.count_nonzero()), int(beyond.sum()))

    def _lengths(self) -> Int64[Tensor, " D"]:
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    @staticmethod
    def _before(ends: Int64[Tensor, " D"], documents: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Start position of each document."""
        return torch.where(documents > 0, ends[documents - 1], 0)


ENDINGS = re.compile(
    rf"(\.(txt|tokens|raw|jsonl|json|parquet|csv|npy|bin))?(\.({'|'.join(COMPRESSED)}))*$", re.IGNORECASE
)
"""Extensions of a file name that state its format and its compression."""


def title_of(*paths: str) -> str:
    """A short name of files, for figures: the first one's name without its extension, and the number of others.

    Args:
        paths: Paths or patterns; a pattern is called by its folder's name.
    """
    first = Path(paths[0])
    name = first.absolute().parent.name if has_magic(first.name) else ENDINGS.sub("", first.name) or first.name
    return name if len(paths) == 1 else f"{name}+{len(paths) - 1}"
