"""Hugging Face data sets and tokenizers, or local files in their place, as sequences of equal length."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from sedd_core import UserError, hookimpl
from sedd_core.data import LongDocuments, PackedData, Packing, Padding, Tokenized, Tokens, corpus_key
from sedd_core.stages import Data, Documents, Split
from sedd_core.text import Codec, EndedCodec

from .presets import PRESETS
from .sources import Source
from .vocabulary import characters_of, ended_characters, read_vocabulary

DOCUMENTS_AT_ONCE = 1000
"""Documents to read at a time."""


class HubDataset(PackedData):
    """Data sets of the Hugging Face hub or local files: documents, each followed by an end-of-text token.

    Args:
        name: Data set to train on: openwebtext, lm1b, wikitext2, wikitext103, ptb or lambada (detokenized), another
            data set of the hub, or a local file or folder.
        config: Configuration of the data set on the hub.
        revision: Revision of the data set on the hub.
        train_split: Training split; None: the data set's default.
        train_file: Local file, pattern or folder with training data, used in place of the hub.
        valid_name: Validation data set; None: the training data set.
        valid_config: Configuration of the validation data set on the hub.
        valid_split: Validation split; if it is the training split, documents are held out. None: the data
            set's default.
        valid_file: Local file, pattern or folder with validation data, used in place of the hub.
        valid_documents: Number of documents held out at the end of the training data, if it also serves for
            validation.
        limit: Number of training documents to stream without downloading the rest; None: all.
        text_field: Column that contains the text; None: the data set's default.
        skip_null: Whether to skip documents with a null text and report their number; otherwise they are an error.
        tokenizer: Tokenizer to use: a tokenizer.json, BERT's vocab.txt, a folder of tokenizer files, a hub id (gpt2),
            byte, or char (learned from the training text).
        unknown: Whether tokenizer=char has a token for characters that the training text lacks; otherwise they are an
            error.
        end_token: End-of-text token after each document; None: the one that the tokenizer's files name, or a
            customary one.
        vocab: Vocabulary size, stated so that it is known before data is read; None: the tokenizer's.
        packing: How documents become sequences: packed (one run, cut) or document (one document per sequence).
        documents: Treatment of documents in a sequence with packing=packed: joined (a token attends to the whole
            sequence) or separate (only to its document, whose boundaries the network is given).
        padding: Treatment of padding with packing=document: counted (data like any token) or conditioned (given, so
            that figures are conditional on document lengths).
        long_documents: Treatment of documents above length with packing=document: cut to length, or split into
            several sequences.
        length: Tokens per sequence.
    """

    def __init__(
        self,
        *,
        name: str,
        config: str | None = None,
        revision: str | None = None,
        train_split: str | None = None,
        train_file: str | None = None,
        valid_name: str | None = None,
        valid_config: str | None = None,
        valid_split: str | None = None,
        valid_file: str | None = None,
        valid_documents: int = 1000,
        limit: int | None = None,
        text_field: str | None = None,
        skip_null: bool = False,
        tokenizer: str = "gpt2",
        unknown: bool = True,
        end_token: str | None = None,
        vocab: int | None = 50257,
        packing: Packing = "packed",
        documents: Documents = "joined",
        padding: Padding = "counted",
        long_documents: LongDocuments = "cut",
        length: int = 1024,
    ) -> None:
        counts = {"length": length, "vocab": vocab, "valid_documents": valid_documents, "limit": limit}
        for which, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{which} must be at least 1, not {value}")
        if packing not in ("packed", "document"):
            raise ValueError(f"packing must be 'packed' or 'document', not '{packing}'")
        if packing == "packed" and (padding, long_documents) != ("counted", "cut"):
            raise ValueError("padding and long_documents need packing='document': packed sequences have neither")
        if documents not in ("joined", "separate"):
            raise ValueError(f"documents must be 'joined' or 'separate', not '{documents}'")
        if packing == "document" and documents == "separate":
            raise ValueError("documents='separate' needs packing='packed': each sequence has one document already")
        if "text8" in (name, valid_name):
            raise ValueError("text8 is one run of characters without documents and has its own plugin: data=text8")
        self.train = Source.of("train", name, config, revision, train_split, train_file, text_field, skip_null)
        if valid_name is None:
            valid_config, valid_revision = valid_config or config, revision
        else:
            valid_revision = None
        column = None if valid_name in PRESETS else text_field  # presets define their own column
        self.valid = Source.of(
            *("valid", valid_name or name, valid_config, valid_revision, valid_split, valid_file, column, skip_null)
        )
        if self.valid.path is None and self.valid.of_the_hub == self.train.of_the_hub:
            self.valid = replace(self.valid, path=self.train.path)  # one file serves for both splits
        if limit is not None and self._holds_out and limit <= valid_documents:
            raise ValueError(f"limit must be above valid_documents ({valid_documents}), not {limit}")
        self.valid_documents, self.limit = valid_documents, limit
        self.padding: Padding = padding
        self.long_documents: LongDocuments = long_documents
        if not unknown and tokenizer != "char":
            raise ValueError(f"unknown=False is a setting of tokenizer='char', not of '{tokenizer}'")
        self.tokenizer, self.unknown, self.end_token, self.vocab = tokenizer, unknown, end_token, vocab
        self.packing, self.length = packing, length
        self.documents: Documents = documents

    @property
    def remedy(self) -> str:
        """Advice for a split that is too short: the settings that limit its documents."""
        if not self._holds_out:
            return super().remedy
        return f"raise data.valid_documents ({self.valid_documents:,}){'' if self.limit is None else ' or data.limit'}"

    @property
    def title(self) -> str:
        """Short name of the validation data."""
        return self.valid.title

    def describe(self) -> str:
        """Both data sets, the tokenizer and the sequence length."""
        train = f"{'' if self.limit is None else f'up to {self.limit:,} documents of '}{self.train}"
        valid = f"its last {self.valid_documents:,} documents" if self._holds_out else str(self.valid)
        size = "the" if self.vocab is None else f"{self.vocab}"
        cut = "sequences of" if self.packing == "packed" else f"one document per sequence, padding {self.padding}, of"
        cut = "sequences of separate documents, of" if self.documents == "separate" else cut
        return f"{train}, validated on {valid}, in {size} tokens of {self.tokenizer}, {cut} {self.length}"

    def vocab_size(self) -> int | None:
        """Vocabulary size as set; None if it is the tokenizer's."""
        return self.vocab

    def codec(self) -> Codec:
        """Codec of the tokenizer; tokenizer=char is learned from the training split.

        Raises:
            UserError: The tokenizer is not available, or its vocabulary size differs from `vocab`.
        """
        codec = super().codec() if self.tokenizer == "char" else self._vocabulary.codec
        if self.vocab is not None and codec.vocab_size != self.vocab:
            raise UserError(
                f"The tokenizer {self.tokenizer} has {codec.vocab_size} tokens, not {self.vocab}: set data.vocab."
            )
        return codec

    def key(self, name: Split) -> str:
        """A hash of the documents and the tokenizer (for tokenizer=char, of the training documents).

        Args:
            name: Name of the split.

        Raises:
            UserError: A file is in both splits.
        """
        if not self._holds_out:
            self.train.check_apart(self.valid)
        if self.tokenizer == "char":
            own = [self._identity("train"), *([] if self.end_token is None else [self.end_token])]
            own += [] if self.unknown else ["closed alphabet"]
        else:
            own = [self._vocabulary.codec.tokenizer.to_str(), str(self._vocabulary.end)]
        return corpus_key("data_hub 3", self._identity(name), *own)

    def tokenize(self, name: Split) -> Tokenized:
        """The documents of a split that are not blank, each followed by the end-of-text token."""
        if self.tokenizer != "char":
            self.codec()  # check the vocabulary size
            vocabulary = self._vocabulary
        elif name == "train":
            learned = characters_of((text for texts in self._texts("train") for text in texts), self.unknown)
            vocabulary = ended_characters(learned, self.end_token)
        else:
            vocabulary = ended_characters(self.codec(), self.end_token)
        alphabet = None if self.unknown else set(vocabulary.codec.tokenizer.get_vocab())
        return Tokenized(vocabulary.codec, self._checked_texts(name, alphabet), partial(_encoded, vocabulary))

    def _checked_texts(self, name: Split, alphabet: set[str] | None) -> Iterator[str]:
        before = 0
        for texts in self._texts(name):
            if alphabet is not None:
                self._check_alphabet(texts, alphabet, name, before)
            before += len(texts)
            yield from texts

    def _check_alphabet(self, texts: list[str], alphabet: set[str], name: Split, before: int) -> None:
        """Raise UserError, with the position, for a character outside the alphabet."""
        for number, text in enumerate(texts, start=before + 1):
            unseen = next((index for index, character in enumerate(text) if character not in alphabet), None)
            if unseen is not None:
                raise UserError(
                    f"Document {number:,} of the {name} split (not counting blank ones) contains {text[unseen]!r} "
                    f"at character {unseen + 1:,}, which the training text lacks. "
                    "Correct it, or set data.unknown=true to add a token for such characters."
                )

    def _texts(self, name: Split) -> Iterator[list[str]]:
        """Batches of the detokenized documents of a split, blank ones excluded."""
        for texts in self._documents(name):
            yield [text for text in texts if text]

    def _documents(self, name: Split) -> Iterator[list[str]]:
        source = self._source(name)
        whole = source.documents(self.limit if self._limited(name) else None)
        if not self._holds_out:
            yield from source.texts(whole, DOCUMENTS_AT_ONCE)
        elif self.limit is not None:
            yield from self._parted(source.texts(whole, DOCUMENTS_AT_ONCE), name)
        else:
            cut = whole.num_rows - self.valid_documents
            if cut < 1:
                raise self._too_few(whole.num_rows)
            part = whole.take(cut) if name == "train" else whole.skip(cut)
            yield from source.texts(part, DOCUMENTS_AT_ONCE, 0 if name == "train" else cut)

    def _parted(self, batches: Iterator[list[str]], name: Split) -> Iterator[list[str]]:
        """The last `valid_documents` of a stream, or those before; the end of a stream is not known in advance."""
        last: deque[str] = deque()
        count = 0
        for texts in batches:
            last.extend(texts)
            count += len(texts)
            before = [last.popleft() for _ in range(len(last) - self.valid_documents)]
            if name == "train":
                yield before
        if count <= self.valid_documents:
            raise self._too_few(count)
        if name == "valid":
            yield list(last)

    def _too_few(self, count: int) -> UserError:
        limit = "" if self.limit is None else f" (of data.limit={self.limit:,})"
        return UserError(
            f"{self.train} has {count:,} documents{limit}, but the last {self.valid_documents:,} are held out "
            "for validation. Lower data.valid_documents."
        )

    def _identity(self, name: Split) -> str:
        """A hash of a split's documents."""
        source = self._source(name)
        held_out = (name, str(self.valid_documents)) if self._holds_out else ()
        if held_out and self.limit is not None:
            held_out += ("of those that are there",)
        return corpus_key(source.identity(self.limit if self._limited(name) else None), *held_out)

    def _source(self, name: Split) -> Source:
        return self.train if name == "train" or self._holds_out else self.valid

    def _limited(self, name: Split) -> bool:
        return name == "train" or self._holds_out

    @property
    def _holds_out(self) -> bool:
        """Whether both splits are taken from the same documents."""
        return self.train.same(self.valid)

    @cached_property
    def _vocabulary(self) -> EndedCodec:
        return read_vocabulary(self.tokenizer, self.end_token)


def _encoded(vocabulary: EndedCodec, texts: list[str]) -> Iterator[Tokens]:
    for ids in vocabulary.codec.encode_batch(texts):
        yield np.array([*ids, vocabulary.end], np.int64)


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return HubDataset
