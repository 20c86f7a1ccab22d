"""Sequences as published evaluations cut them."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from sedd_core.maths import Draws
from sedd_core.stages import Batch, Sequences

Crop = Literal["start", "random"]


class Blocks(Sequences):
    """Blocks of joined documents; the joining restarts after each group of documents, whose remainder is dropped.

    Args:
        tokens: Token ids of all documents in one run [N].
        ends: End position of each document in `tokens` [D].
        length: Tokens per sequence, L.
        group: Documents per group; 0: all in one.
        around: Tokens before and after each block, or None; the block then has L - 2 tokens of the run.
    """

    def __init__(
        self,
        tokens: Integer[Tensor, " N"],
        ends: Int64[Tensor, " D"],
        length: int,
        group: int,
        around: tuple[int, int] | None,
    ) -> None:
        self.tokens, self.around = tokens, around
        self.size = length if around is None else length - 2
        stops = ends[-1:] if not group else torch.cat([ends[group - 1 :: group], ends[-1:]]).unique()
        starts = torch.cat([stops.new_zeros(1), stops])[: len(stops)]
        self.starts = torch.cat(
            [
                torch.arange(start, stop - self.size + 1, self.size)
                for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
                if stop - start >= self.size
            ]
            or [torch.zeros(0, dtype=torch.int64)]
        )

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The blocks at `indices` [B] as int64 tokens [B, L]."""
        tokens = self.tokens[self.starts[indices][:, None] + torch.arange(self.size)].to(torch.int64)
        if self.around is not None:
            first, last = (torch.full_like(tokens[:, :1], token) for token in self.around)
            tokens = torch.cat([first, tokens, last], 1)
        return Batch(tokens)


class Rows(Sequences):
    """One document per sequence between two tokens, cut to `length` and padded; padding is noised, but is not text.

    Args:
        tokens: Token ids of all documents in one run [N].
        ends: End position of each document in `tokens` [D].
        length: Tokens per sequence, L.
        around: Tokens before and after each document.
        pad: Padding token.
        crop: Part of a document above `length` that is kept; "random" is a function of the document's index.
    """

    def __init__(
        self,
        tokens: Integer[Tensor, " N"],
        ends: Int64[Tensor, " D"],
        length: int,
        around: tuple[int, int],
        pad: int,
        crop: Crop,
    ) -> None:
        self.tokens, self.length, self.around, self.pad, self.crop = tokens, length, around, pad, crop
        starts = torch.cat([ends.new_zeros(1), ends])[: len(ends)]
        self.bounds = torch.stack([starts, ends], -1)

    def __len__(self) -> int:
        return len(self.bounds)

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The documents at `indices` [B] as int64 tokens [B, L]; `text` leaves out padding."""
        rows = torch.full((len(indices), self.length), self.pad)
        sizes = torch.zeros(len(indices), dtype=torch.int64)
        places = Draws(0, indices).uniform("crop", 1)[:, 0]
        for row, (start, end) in enumerate(self.bounds[indices].tolist()):
            whole = torch.cat(
                [torch.tensor([self.around[0]]), self.tokens[start:end].long(), torch.tensor([self.around[1]])]
            )
            beyond = max(0, len(whole) - self.length)
            if beyond and self.crop == "start":  # as tokenizers truncate: the end token stays
                whole = torch.cat([whole[: self.length - 1], whole[-1:]])
            elif beyond:
                first = int(places[row] * (beyond + 1))
                whole = whole[first : first + self.length]
            rows[row, : len(whole)], sizes[row] = whole, len(whole)
        return Batch(rows, text=torch.arange(self.length) < sizes[:, None])
