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
    """Documents, each followed by the tokenizer's end-of-text token, as one long run cut into sequences.

    name: openwebtext, lm1b, wikitext2, wikitext103, ptb or lambada, whose text is put right, or any data set of the
    hub, or a local file or folder. config, revision: of the data set, as the hub has them. train_split: the split to
    train on, where it is not the usual one. train_file, valid_file: a local file, a pattern of several, or a folder,
    read in place of the hub. valid_name, valid_config, valid_split: the data to validate on; where it is the same
    split or file, documents are held out. valid_documents: how many, from the end. limit: stream only so many
    documents of the training data, without downloading the rest. text_field: the column, where it is not the usual
    one (a valid_name whose text is put right keeps its own). skip_null: leave out documents whose text is null, and
    say how many they are. tokenizer: a tokenizer.json, BERT's vocab.txt, a folder with one of them or with GPT-2's
    vocab.json and merges.txt, a hub id (gpt2, bert-base-uncased, ...), "byte", or "char", learned from the training
    text. unknown: Add a state to "char" for characters that the training text does not have; without it, such a
    character is an error. end_token: the token after each document; None: the one that the tokenizer's files name or
    that is customary. vocab: its number of tokens, stated so that nothing has to be read; None: as it turns out.
    packing: "packed" cuts the whole run into sequences; "document" gives each document a sequence of its own, cut or
    padded. padding: "counted": padding is data, learned and sampled like any token, and in the loss and the bound;
    "conditioned": it is given, so that the model and its figures are those of documents given their lengths.
    long_documents: "cut": a document's tokens beyond length are left out; "split": they become further sequences.
    length: tokens a sequence.
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

    def tokenise(self, name: Split) -> Tokenized:
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
