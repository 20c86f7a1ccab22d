"""Data whose splits are tokenized once, into the cache."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Literal

from .. import console
from ..distributed.rank import process_rank
from ..errors import UserError
from ..stages.data import Data, Sequences, Split
from ..text.codec import Codec
from .cache import (
    Corpus,
    Tokenized,
    _folder,
    cached_corpus,
    corpus_key,
)
from .checksums import remove_damaged
from .sequences import DocumentSequences, LongDocuments, PackedSequences, Padding

Packing = Literal["packed", "document"]
SPLITS: tuple[Split, ...] = ("train", "valid")


class PackedData(Data):
    """Data whose splits are tokenized once, into the cache.

    packing: "packed" cuts the whole run of a split into sequences; "document" gives each document its own, for which
    padding and long_documents are those of `DocumentSequences`.
    """

    packing: Packing = "packed"
    padding: Padding = "counted"
    long_documents: LongDocuments = "cut"

    @property
    def remedy(self) -> str:
        """What to do about a split without a single sequence, for a message."""
        return "give it more text"

    @abstractmethod
    def key(self, name: Split) -> str:
        """A hash of a split's content and of how it is tokenized."""

    @abstractmethod
    def tokenize(self, name: Split) -> Tokenized:
        """The codec and the documents of a split, for the cache."""

    def codec(self) -> Codec:
        """The training split's."""
        return self.corpus("train").codec

    def end(self) -> int | None:
        """The last token of the training split, whose documents all end with the same one."""
        tokens = self.corpus("train").tokens if self.packing == "document" else []
        return int(tokens[-1]) if len(tokens) else None

    def fingerprint(self) -> str:
        """A hash of both splits' keys."""
        return corpus_key(self._key("train"), self._key("valid"))

    def split(self, name: Split) -> Sequences:
        """UserError for a split without a single sequence."""
        corpus = self.corpus(name)
        if self.packing == "document":
            parts = (corpus.tokens, corpus.ends, self.length, self.padding, self.long_documents)
            sequences: Sequences = DocumentSequences(*parts)
            self._say_what_is_cut(name, corpus, *sequences.cut_off())
        else:
            sequences = PackedSequences(corpus.tokens, self.length)
        if not len(sequences):
            raise UserError(
                f"The {name} split of {self.describe()} holds {len(corpus.tokens):,} tokens, less than one sequence: "
                f"{self.remedy}, or lower data.length."
            )
        return sequences

    def _say_what_is_cut(self, name: Split, corpus: Corpus, documents: int, tokens: int) -> None:
        if not documents or name in self._said_cut:
            return
        self._said_cut.add(name)
        console.say(
            f"warning: {documents:,} of the {len(corpus.ends):,} documents of the {name} split of {self.title} are "
            f"longer than data.length={self.length}: their ends, {tokens:,} of {len(corpus.tokens):,} tokens "
            f"({100 * tokens / len(corpus.tokens):.1f} %), are left out. Raise data.length, or set "
            "data.long_documents=split to use them as further sequences."
        )

    def check_cache(self) -> None:
        """Remove the splits in the cache that are damaged, or without checksums; opening them builds them again.

        Once per object, and in the first process of a machine only: the others have to wait for it before they open
        a split. Each split is read once from end to end, in blocks, at the speed of the disk or of CRC-32 (about 1 GB
        per second), whichever is lower: 10 to 20 s for the 18 GB of OpenWebText.
        """
        for name in SPLITS:
            self._check(name)

    def corpus(self, name: Split) -> Corpus:
        """A split in the cache, tokenized when it is not there yet or damaged."""
        if name not in self._corpora:
            self._check(name)
            self._corpora[name] = cached_corpus(self._key(name), lambda: self.tokenize(name))
        return self._corpora[name]

    def _key(self, name: Split) -> str:
        if name not in self._keys:
            self._keys[name] = self.key(name)
        return self._keys[name]

    def _check(self, name: Split) -> None:
        if process_rank().local_rank == 0 and name not in self._checked:
            remove_damaged(_folder(self._key(name)))
        self._checked.add(name)

    @cached_property
    def _checked(self) -> set[Split]:
        return set()

    @cached_property
    def _said_cut(self) -> set[Split]:
        return set()

    @cached_property
    def _corpora(self) -> dict[Split, Corpus]:
        return {}

    @cached_property
    def _keys(self) -> dict[Split, str]:
        """Read once: a key may take a pass over a file."""
        return {}
