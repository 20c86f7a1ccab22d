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
    """Sequences, and which of their positions are modeled.

    Args:
        tokens: Token ids [B, L].
        loss_mask: Positions [B, L] in the loss and the bound; None: all. Tokens elsewhere are given: they are never
            noised, and figures are conditional on them.
        cond: Conditions [B, ...] for the network; None without.
        text: Positions [B, L] that figures per token and per character are divided by, all but padding; None:
            loss_mask.
    """

    tokens: Int64[Tensor, "B L"]
    loss_mask: Bool[Tensor, "B L"] | None = None
    cond: Tensor | None = None
    text: Bool[Tensor, "B L"] | None = None

    def full_loss_mask(self) -> Bool[Tensor, "B L"]:
        """`loss_mask` [B, L]; all positions where it is None."""
        return torch.ones_like(self.tokens, dtype=torch.bool) if self.loss_mask is None else self.loss_mask

    def full_text_mask(self) -> Bool[Tensor, "B L"]:
        """`text` [B, L]; the loss mask where it is None."""
        return self.full_loss_mask() if self.text is None else self.text

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]


class Sequences(ABC):
    """Abstract split: a map from sequence indices to batches.

    `conditioned_on` names what positions outside the loss mask reveal, for the names of figures: "lengths", or "".
    """

    conditioned_on: str = ""

    @abstractmethod
    def __len__(self) -> int:
        """The number of sequences."""

    @abstractmethod
    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The batch of the sequences of these indices [B]."""

    def spread(self, count: int) -> Int64[Tensor, " n"]:
        """Indices of `count` sequences spread evenly over the split, or of all where there are fewer."""
        count = min(count, len(self))
        return torch.arange(count) * len(self) // count


def restore_given(
    x: Int64[Tensor, "B L"], x0: Int64[Tensor, "B L"], loss_mask: Bool[Tensor, "B L"] | None
) -> Int64[Tensor, "B L"]:
    """x at the positions of the loss mask, and the clean x0 elsewhere: given tokens are not noised."""
    return x if loss_mask is None else torch.where(loss_mask, x, x0)


class Data(ABC):
    """Abstract data source. Constructing one touches no file and no network; `split` and `codec` do.

    `length` is the number of tokens per sequence.
    """

    length: int

    @property
    def title(self) -> str:
        """A short name, for charts and tables."""
        return type(self).__name__.lower()

    @abstractmethod
    def describe(self) -> str:
        """One line about the data, without reading it."""

    @abstractmethod
    def vocab_size(self) -> int | None:
        """The vocabulary size where it is known without reading any data, else None."""

    @abstractmethod
    def codec(self) -> Codec:
        """The codec between text and tokens."""

    def end(self) -> int | None:
        """The token that ends a document and pads it, where each sequence is one document; else None."""
        return None

    @abstractmethod
    def split(self, name: Split) -> Sequences:
        """The sequences of a split; validation and training share none."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data's content and of its tokenization."""

    def check_cache(self) -> None:  # noqa: B027 - most data keeps none
        """Remove damaged copies that this data keeps on disk: called once per process, before any is opened."""
