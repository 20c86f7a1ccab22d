"""Hugging Face data sets and tokenizers, or local files in their place, packed to length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from sedd_core import UserError, hookimpl
from sedd_core.codec import Codec
from sedd_core.stages import Data
from sedd_core.stages.data import LongDocuments, Padding, Split
from sedd_core.tokenizer import EndedCodec
from sedd_core.tokens import PackedData, Packing, Tokenised, Tokens, corpus_key

from .presets import PRESETS
from .sources import Documents, Source
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
    one (a valid_name whose text is put right keeps its own). tokenizer: a tokenizer.json, BERT's vocab.txt, a folder
    with one of them or with GPT-2's vocab.json and merges.txt, a hub id (gpt2, bert-base-uncased, ...), "byte", or
    "char", learned from the training text. end_token: the token after each document; None: the one that the
    tokenizer's files name or that is customary. vocab: its number of tokens, stated so that nothing has to be read;
    None: as it turns out.
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
        tokenizer: str = "gpt2",
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
        self.train = Source.of("train", name, config, revision, train_split, train_file, text_field)
        if valid_name is None:
            valid_config, valid_revision = valid_config or config, revision
        else:
            valid_revision = None
        column = None if valid_name in PRESETS else text_field  # those have their own
        self.valid = Source.of(
            "valid", valid_name or name, valid_config, valid_revision, valid_split, valid_file, column
        )
        if self.valid.path is None and self.valid.of_the_hub == self.train.of_the_hub:
            self.valid = replace(self.valid, path=self.train.path)  # the file stands for both
        if limit is not None and self._holds_out and limit <= valid_documents:
            raise ValueError(f"limit must be above valid_documents ({valid_documents}), not {limit}")
        self.valid_documents, self.limit = valid_documents, limit
        self.padding: Padding = padding
        self.long_documents: LongDocuments = long_documents
        self.tokenizer, self.end_token, self.vocab = tokenizer, end_token, vocab
        self.packing, self.length = packing, length

    @property
    def title(self) -> str:
        """The short name of the validation data."""
        return self.valid.title

    def describe(self) -> str:
        """The two data sets and the tokenizer."""
        train = f"{'' if self.limit is None else f'{self.limit:,} documents of '}{self.train}"
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
        else:
            own = [self._vocabulary.codec.tokenizer.to_str(), str(self._vocabulary.end)]
        return corpus_key("data_hub 3", self._identity(name), *own)

    def tokenise(self, name: Split) -> Tokenised:
        """Every document that is not blank, each with its end-of-text token."""
        if self.tokenizer != "char":
            self.codec()  # of the size that is stated
            vocabulary = self._vocabulary
        elif name == "train":
            learned = characters_of(text for texts in self._texts("train") for text in texts)
            vocabulary = ended_characters(learned, self.end_token)
        else:
            vocabulary = ended_characters(self.codec(), self.end_token)
        return Tokenised(vocabulary.codec, self._encoded(name, vocabulary))

    def _encoded(self, name: Split, vocabulary: EndedCodec) -> Iterator[Tokens]:
        encode = vocabulary.codec.tokenizer.encode_batch
        for texts in self._texts(name):
            for encoding in encode(texts, add_special_tokens=False):
                yield np.array([*encoding.ids, vocabulary.end], np.int64)

    def _texts(self, name: Split) -> Iterator[list[str]]:
        """The documents of a split, put right, many at a time."""
        for texts in self._source(name).texts(self._documents(name), DOCUMENTS_AT_ONCE):
            yield [text for text in texts if text]

    def _documents(self, name: Split) -> Documents:
        whole = self._source(name).documents(self.limit if self._limited(name) else None)
        if not self._holds_out:
            return whole
        count = whole.num_rows if self.limit is None else self.limit
        if self.valid_documents >= count:
            raise UserError(f"{self.train} has {count} documents; lower data.valid_documents.")
        cut = count - self.valid_documents
        return whole.take(cut) if name == "train" else whole.skip(cut)

    def _identity(self, name: Split) -> str:
        """A hash of a split's documents."""
        source = self._source(name)
        held_out = (name, str(self.valid_documents)) if self._holds_out else ()
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
