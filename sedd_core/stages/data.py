"""The data stage: sequences of tokens by index, and the codec between tokens and text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from glob import has_magic
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor

from ..codec import Codec

Split = Literal["train", "valid"]


class Batch(NamedTuple):
    """tokens [B, L]; counts [B, L]: positions in the loss and the bound (None: all); cond [B, ...]: conditions."""

    tokens: Int64[Tensor, "B L"]
    counts: Bool[Tensor, "B L"] | None = None
    cond: Tensor | None = None

    def counted(self) -> Bool[Tensor, "B L"]:
        """`counts`, in full."""
        return torch.ones_like(self.tokens, dtype=torch.bool) if self.counts is None else self.counts

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]


class Sequences(ABC):
    """A split: a map from sequence indices to batches."""

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


class PackedSequences(Sequences):
    """One long run of tokens, cut into sequences of `length`; the rest at the end is left out."""

    def __init__(self, tokens: Int64[Tensor, " N"] | Tensor, length: int) -> None:
        self.tokens = tokens[: len(tokens) // length * length].view(-1, length)

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """Rows of the token table, as int64 whatever they are stored as."""
        return Batch(self.tokens[indices].to(torch.int64))


class DocumentSequences(Sequences):
    """One document a sequence, cut to `length`; a shorter one is padded, and its padding does not count.

    Documents end with an end-of-text token, which belongs to them; the same token is the padding.
    """

    def __init__(self, tokens: Integer[Tensor, " N"], ends: Int64[Tensor, " D"], length: int) -> None:
        self.tokens, self.ends, self.length = tokens, ends, length

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """Rows gathered from the run, as int64."""
        starts = torch.where(indices > 0, self.ends[indices - 1], 0)
        places = starts[:, None] + torch.arange(self.length)
        counts = places < self.ends[indices][:, None]
        places = torch.where(counts, places, len(self.tokens) - 1)  # the run's last token ends a document
        return Batch(self.tokens[places].to(torch.int64), counts)


ENDINGS = re.compile(r"(\.(txt|tokens|raw|jsonl|json|parquet|csv|gz|zst|xz|bz2|zip))+$", re.IGNORECASE)


def title_of(*paths: str) -> str:
    """A short name of files, for figures: of the first without its endings, and how many more there are.

    A pattern bears its folder's name.
    """
    first = Path(paths[0])
    name = first.absolute().parent.name if has_magic(first.name) else ENDINGS.sub("", first.name) or first.name
    return name if len(paths) == 1 else f"{name}+{len(paths) - 1}"


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

    @abstractmethod
    def split(self, name: Split) -> Sequences:
        """The sequences of a split; validation shares none with training."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data's content and of how it was tokenised."""

    def check_cache(self) -> None:  # noqa: B027 - most data keeps none
        """Remove damaged copies that this data keeps on disk: called once, in each process, before any is opened."""
