"""Hugging Face data sets and tokenizers, or local files in their place, packed to length."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from sedd_core import UserError, hookimpl
from sedd_core.data import LongDocuments, PackedData, Packing, Padding, Tokenized, Tokens, corpus_key
from sedd_core.stages import Data, Split
from sedd_core.text import Codec, EndedCodec

from .presets import PRESETS
from .sources import Source
from .vocabulary import characters_of, ended_characters, load

DOCUMENTS_AT_ONCE = 1000


class HubDataset(PackedData):
    """Data sets of the Hugging Face hub or local files: documents, each followed by an end-of-text token.

    Args:
        name: Data set to train on: openwebtext, lm1b, wikitext2, wikitext103, ptb or lambada (detokenized), another
            data set of the hub, or a local file or folder.
        config: Configuration of the data set on the hub.
        revision: Revision of the data set on the hub.
        train_split: Split to train on; None: the data set's usual one.
        train_file: Local file, pattern or folder that is read in place of the hub, for training.
        valid_name: Data set to validate on; None: the one of training.
        valid_config: Configuration of the validation data set on the hub.
        valid_split: Split to validate on; where it is the training split, documents are held out.
        valid_file: Local file, pattern or folder that is read in place of the hub, for validation.
        valid_documents: Number of documents held out at the end of the training data, where it is validated on too.
        limit: Number of training documents to stream without downloading the rest; None: all.
        text_field: Column of the text; None: the data set's usual one.
        skip_null: Whether documents with a null text are left out (their number is reported); otherwise they are an
            error.
        tokenizer: Tokenizer: a tokenizer.json, BERT's vocab.txt, a folder of tokenizer files, a hub id (gpt2), byte,
            or char (learned from the training text).
        unknown: Whether tokenizer=char has a token for characters that the training text lacks; without it they are
            an error.
        end_token: Token after each document; None: the one that the tokenizer's files name, or a customary one.
        vocab: Vocabulary size, stated so that it is known before data is read; None: the tokenizer's.
        packing: How documents become sequences: packed (one run, cut) or document (one document per sequence).
        padding: Treatment of padding with packing=document: counted (data like any token) or conditioned (given, so
            that figures are conditional on the documents' lengths).
        long_documents: Treatment of documents above length with packing=document: cut, or split into several
            sequences.
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
        if "text8" in (name, valid_name):
            raise ValueError("text8 is one run of characters without documents, a plugin of its own: data=text8")
        self.train = Source.of("train", name, config, revision, train_split, train_file, text_field, skip_null)
        if valid_name is None:
            valid_config, valid_revision = valid_config or config, revision
        else:
            valid_revision = None
        column = None if valid_name in PRESETS else text_field  # those have their own
        self.valid = Source.of(
            *("valid", valid_name or name, valid_config, valid_revision, valid_split, valid_file, column, skip_null)
        )
        if self.valid.path is None and self.valid.of_the_hub == self.train.of_the_hub:
            self.valid = replace(self.valid, path=self.train.path)  # the file stands for both
        if limit is not None and self._holds_out and limit <= valid_documents:
            raise ValueError(f"limit must be above valid_documents ({valid_documents}), not {limit}")
        self.valid_documents, self.limit = valid_documents, limit
        self.padding: Padding = padding
        self.long_documents: LongDocuments = long_documents
        if not unknown and tokenizer != "char":
            raise ValueError(f"unknown=False is a setting of tokenizer='char', not of '{tokenizer}'")
        self.tokenizer, self.unknown, self.end_token, self.vocab = tokenizer, unknown, end_token, vocab
        self.packing, self.length = packing, length

    @property
    def remedy(self) -> str:
        """Where documents are too few: more of them, by the settings that limit them."""
        if not self._holds_out:
            return super().remedy
        return (
            f"raise data.valid_documents ({self.valid_documents:,}){'' if self.limit is None else ' or data.limit'}"
        )

    @property
    def title(self) -> str:
        """The short name of the validation data."""
        return self.valid.title

    def describe(self) -> str:
        """The two data sets and the tokenizer."""
        train = f"{'' if self.limit is None else f'up to {self.limit:,} documents of '}{self.train}"
        valid = f"its last {self.valid_documents:,} documents" if self._holds_out else str(self.valid)
        size = "the" if self.vocab is None else f"{self.vocab}"
        cut = "sequences of" if self.packing == "packed" else f"one document per sequence, padding {self.padding}, of"
        return f"{train}, validated on {valid}, in {size} tokens of {self.tokenizer}, {cut} {self.length}"

    def vocab_size(self) -> int | None:
        """As stated."""
        return self.vocab

    def codec(self) -> Codec:
        """The tokenizer's; characters are learned from the training split."""
        codec = super().codec() if self.tokenizer == "char" else self._vocabulary.codec
        if self.vocab is not None and codec.vocab_size != self.vocab:
            raise UserError(
                f"The tokenizer {self.tokenizer} has {codec.vocab_size} tokens, not {self.vocab}: set data.vocab."
            )
        return codec

    def key(self, name: Split) -> str:
        """A hash of the documents and the tokenizer (characters: of the training documents).

        UserError for a file that is on both sides.
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
        """Every document that is not blank, each with its end-of-text token."""
        if self.tokenizer != "char":
            self.codec()  # of the size that is stated
            vocabulary = self._vocabulary
        elif name == "train":
            learned = characters_of((text for texts in self._texts("train") for text in texts), self.unknown)
            vocabulary = ended_characters(learned, self.end_token)
        else:
            vocabulary = ended_characters(self.codec(), self.end_token)
        return Tokenized(vocabulary.codec, self._encoded(name, vocabulary))

    def _encoded(self, name: Split, vocabulary: EndedCodec) -> Iterator[Tokens]:
        encode = vocabulary.codec.tokenizer.encode_batch
        alphabet = None if self.unknown else set(vocabulary.codec.tokenizer.get_vocab())
        before = 0
        for texts in self._texts(name):
            if alphabet is not None:
                self._check_alphabet(texts, alphabet, name, before)
            before += len(texts)
            for encoding in encode(texts, add_special_tokens=False):
                yield np.array([*encoding.ids, vocabulary.end], np.int64)

    def _check_alphabet(self, texts: list[str], alphabet: set[str], name: Split, before: int) -> None:
        """UserError, with its place, for a character outside the alphabet."""
        for number, text in enumerate(texts, start=before + 1):
            strange = next((index for index, character in enumerate(text) if character not in alphabet), None)
            if strange is not None:
                raise UserError(
                    f"Document {number:,} of the {name} split (blank ones aside) has {text[strange]!r} at character "
                    f"{strange + 1:,}, which the training text does not have. Correct it, or set data.unknown=true "
                    "for a state of such characters."
                )

    def _texts(self, name: Split) -> Iterator[list[str]]:
        """The documents of a split that are not blank, put right, many at a time."""
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
        """Of a stream, whose end is known only there: its last `valid_documents`, or those before."""
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
            f"{self.train} has {count:,} documents{limit}, of which the last {self.valid_documents:,} are to be "
            "validated on: lower data.valid_documents."
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
        """Whether both splits come out of the same documents."""
        return self.train.same(self.valid)

    @cached_property
    def _vocabulary(self) -> EndedCodec:
        return load(self.tokenizer, self.end_token)


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return HubDataset
