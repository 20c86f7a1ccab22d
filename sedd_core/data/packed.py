"""Abstract data stage whose splits are tokenized once and cached."""

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
    """Data whose splits are tokenized once and cached."""

    packing: Packing = "packed"
    """How documents become sequences: "packed" cuts the run of all tokens; "document" makes one per document."""
    padding: Padding = "counted"
    """Treatment of padding with packing="document"; see `DocumentSequences`."""
    long_documents: LongDocuments = "cut"
    """Treatment of documents above `length` with packing="document"; see `DocumentSequences`."""

    @property
    def remedy(self) -> str:
        """Advice for a split that is shorter than one sequence, for messages."""
        return "give it more text"

    @abstractmethod
    def key(self, name: Split) -> str:
        """A hash of the content and the tokenization of a split."""

    @abstractmethod
    def tokenize(self, name: Split) -> Tokenized:
        """The codec and the tokens of the documents of a split, for the cache."""

    def codec(self) -> Codec:
        """The codec of the training split."""
        return self.corpus("train").codec

    def end(self) -> int | None:
        """The end-of-text token, which is the last token of the training split; None with packing="packed"."""
        tokens = self.corpus("train").tokens if self.packing == "document" else []
        return int(tokens[-1]) if len(tokens) else None

    def fingerprint(self) -> str:
        """A hash of the keys of both splits."""
        return corpus_key(self._key("train"), self._key("valid"))

    def split(self, name: Split) -> Sequences:
        """The sequences of a split.

        Args:
            name: Name of the split.

        Raises:
            UserError: The split is shorter than one sequence.
        """
        corpus = self.corpus(name)
        if self.packing == "document":
            parts = (corpus.tokens, corpus.ends, self.length, self.padding, self.long_documents)
            sequences: Sequences = DocumentSequences(*parts)
            self._report_cut_documents(name, corpus, *sequences.cut_off())
        else:
            ends = corpus.ends if self.documents == "separate" else None
            sequences = PackedSequences(corpus.tokens, self.length, ends)
        if not len(sequences):
            raise UserError(
                f"The {name} split of {self.describe()} contains {len(corpus.tokens):,} tokens, less than one "
                f"sequence: {self.remedy}, or lower data.length."
            )
        return sequences

    def _report_cut_documents(self, name: Split, corpus: Corpus, documents: int, tokens: int) -> None:
        if not documents or name in self._reported:
            return
        self._reported.add(name)
        console.say(
            f"warning: {documents:,} of the {len(corpus.ends):,} documents of the {name} split of {self.title} are "
            f"longer than data.length={self.length}: their ends, {tokens:,} of {len(corpus.tokens):,} tokens "
            f"({100 * tokens / len(corpus.tokens):.1f} %), are dropped. Raise data.length, or set "
            "data.long_documents=split to use them as further sequences."
        )

    def check_cache(self) -> None:
        """Remove cached splits that are damaged or lack checksums; they are rebuilt when opened.

        Runs once per object, and only in the first process of a machine: the others must wait for it before they
        open a split. Each split is read once in blocks, at the speed of the disk or of CRC-32 (about 1 GB per
        second), whichever is lower: 10 to 20 s for the 18 GB of OpenWebText.

        Raises:
            UserError: A split is not readable for this user, or cannot be removed.
        """
        for name in SPLITS:
            self._check(name)

    def corpus(self, name: Split) -> Corpus:
        """A split in the cache, tokenized first if it is missing or damaged.

        Args:
            name: Name of the split.

        Raises:
            UserError: The split cannot be tokenized, or the cache cannot be written.
        """
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
    def _reported(self) -> set[Split]:
        return set()

    @cached_property
    def _corpora(self) -> dict[Split, Corpus]:
        return {}

    @cached_property
    def _keys(self) -> dict[Split, str]:
        """Keys by split, computed once: a key may take a pass over a file."""
        return {}
