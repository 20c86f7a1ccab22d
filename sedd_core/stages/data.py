"""The data stage: sequences of tokens by index, and the codec between tokens and text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..text.codec import Codec

Split = Literal["train", "valid"]
Documents = Literal["joined", "separate"]


class Batch(NamedTuple):
    """Sequences with their masks and conditions.

    Args:
        tokens: Token ids [B, L].
        loss_mask: Positions [B, L] in the loss and the bound; None: all. Tokens elsewhere are fixed: they are never
            noised, and the bound is conditional on them.
        cond: Conditions [B, ...] for the network; None: unconditional.
        text: Positions [B, L] that are text rather than padding, counted in figures per token and per character;
            None: loss_mask.
        documents: Document [B, L] of each position, from 0 on in each row, never decreasing; positions of different
            documents do not see each other. None: each row is one document.
    """

    tokens: Int64[Tensor, "B L"]
    loss_mask: Bool[Tensor, "B L"] | None = None
    cond: Tensor | None = None
    text: Bool[Tensor, "B L"] | None = None
    documents: Int64[Tensor, "B L"] | None = None

    def full_loss_mask(self) -> Bool[Tensor, "B L"]:
        """`loss_mask` [B, L]; all positions where it is None."""
        return torch.ones_like(self.tokens, dtype=torch.bool) if self.loss_mask is None else self.loss_mask

    def full_text_mask(self) -> Bool[Tensor, "B L"]:
        """`text` [B, L]; the loss mask where it is None."""
        return self.full_loss_mask() if self.text is None else self.text

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; from pinned memory to a GPU, the copy is asynchronous."""
        return self._each(lambda part: part.to(device, non_blocking=part.is_pinned()))

    def pinned(self) -> Batch:
        """The same batch in pinned memory, from which a GPU copies while the CPU continues."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(None if part is None else change(part) for part in self))  # pyright: ignore[reportArgumentType]


class Sequences(ABC):
    """Abstract split: a map from sequence indices to batches.

    `conditioned_on` names the information in positions outside the loss mask, such as "lengths", or in the documents
    of a batch; it appears in the names of figures. Empty where there is none.
    """

    conditioned_on: str = ""

    @abstractmethod
    def __len__(self) -> int:
        """The number of sequences."""

    @abstractmethod
    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The batch of the sequences with the given indices [B]; called from several threads, also at the same time."""

    def spread(self, count: int) -> Int64[Tensor, " n"]:
        """Indices [n] of `count` sequences spread evenly over the split, or of all sequences if there are fewer."""
        count = min(count, len(self))
        return torch.arange(count) * len(self) // count


def restore_given(
    x: Int64[Tensor, "B L"], x0: Int64[Tensor, "B L"], loss_mask: Bool[Tensor, "B L"] | None
) -> Int64[Tensor, "B L"]:
    """x [B, L] at the positions of the loss mask [B, L], and the clean x0 [B, L] elsewhere."""
    return x if loss_mask is None else torch.where(loss_mask, x, x0)


class Data(ABC):
    """Abstract data source. Construction accesses neither files nor the network; `split` and `codec` do.

    `length` is the number of tokens per sequence.
    """

    length: int
    documents: Documents = "joined"
    """Whether batches state the documents of a sequence, to be kept separate; the network must support it."""

    @property
    def title(self) -> str:
        """Short name for charts and tables."""
        return type(self).__name__.lower()

    @abstractmethod
    def describe(self) -> str:
        """One-line description of the data, without reading it."""

    @abstractmethod
    def vocab_size(self) -> int | None:
        """The vocabulary size if it is known without reading any data, else None."""

    @abstractmethod
    def codec(self) -> Codec:
        """The codec between text and tokens."""

    def end(self) -> int | None:
        """The token that ends and pads a document if each sequence is one document, else None."""
        return None

    @abstractmethod
    def split(self, name: Split) -> Sequences:
        """The sequences of a split; training and validation are disjoint."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the content of the data and of its tokenization."""

    def check_cache(self) -> None:  # noqa: B027 - most data has no cache
        """Remove damaged cache files of this data; called once per process, before any is opened."""
