"""The data stage: sequences of tokens by index, and the codec between tokens and text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..text.codec import Codec

Split = Literal["train", "valid"]


class Batch(NamedTuple):
    """Sequences, and what is modeled of them.

    tokens [B, L]. loss_mask [B, L]: positions in the loss and the bound (None: all); the tokens elsewhere are given,
    so they are never noised, and figures are conditional on them. cond [B, ...]: conditions. text [B, L]: positions
    that figures per token and per character are divided by (None: `loss_mask`); all but padding.
    """

    tokens: Int64[Tensor, "B L"]
    loss_mask: Bool[Tensor, "B L"] | None = None
    cond: Tensor | None = None
    text: Bool[Tensor, "B L"] | None = None

    def full_loss_mask(self) -> Bool[Tensor, "B L"]:
        """`loss_mask`, in full."""
        return torch.ones_like(self.tokens, dtype=torch.bool) if self.loss_mask is None else self.loss_mask

    def full_text_mask(self) -> Bool[Tensor, "B L"]:
        """`text`, in full."""
        return self.full_loss_mask() if self.text is None else self.text

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]


class Sequences(ABC):
    """A split: a map from sequence indices to batches.

    conditioned_on: What the positions that do not count tell, as it stands in the names of figures: "lengths".
    """

    conditioned_on: str = ""

    @abstractmethod
    def __len__(self) -> int:
        """How many sequences there are."""

    @abstractmethod
    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The sequences of these indices."""

    def spread(self, count: int) -> Int64[Tensor, " n"]:
        """The indices of `count` sequences spread evenly over the split (of all where there are fewer)."""
        count = min(count, len(self))
        return torch.arange(count) * len(self) // count


def restore_given(
    x: Int64[Tensor, "B L"], x0: Int64[Tensor, "B L"], loss_mask: Bool[Tensor, "B L"] | None
) -> Int64[Tensor, "B L"]:
    """x where tokens count, and the clean x0 elsewhere: given tokens are not noised."""
    return x if loss_mask is None else torch.where(loss_mask, x, x0)


class Data(ABC):
    """Where sequences come from. Constructing one touches no file and no network; `split` and `codec` do.

    length: L, tokens a sequence.
    """

    length: int

    @property
    def title(self) -> str:
        """A short name, for charts and tables."""
        return type(self).__name__.lower()

    @abstractmethod
    def describe(self) -> str:
        """One line on what will be read, without reading it."""

    @abstractmethod
    def vocab_size(self) -> int | None:
        """V where it is known without reading any data, else None."""

    @abstractmethod
    def codec(self) -> Codec:
        """Between text and tokens."""

    def end(self) -> int | None:
        """The token that ends a document and pads it, where each sequence is one document; else None."""
        return None

    @abstractmethod
    def split(self, name: Split) -> Sequences:
        """The sequences of a split; validation shares none with training."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data's content and of how it was tokenized."""

    def check_cache(self) -> None:  # noqa: B027 - most data keeps none
        """Remove damaged copies that this data keeps on disk: called once, in each process, before any is opened."""
