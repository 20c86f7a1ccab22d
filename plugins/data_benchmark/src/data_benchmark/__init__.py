"""Evaluation sets of published protocols: their rows, detokenizers and wrappings, each as a setting."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Literal

import numpy as np

from sedd_core import UserError, hookimpl
from sedd_core.data import PackedData, Tokenized, Tokens, content_hash, corpus_key
from sedd_core.files import expanded
from sedd_core.stages import Data, Sequences, Split
from sedd_core.text import Codec, EndedCodec, character_codec, read_ended_tokenizer

from .detokenize import unchanged
from .sequences import Blocks, Crop, Rows
from .sets import BENCHMARKS, rows_of

Wrapping = Literal["blocks", "bos_eos", "document"]


class BenchmarkData(PackedData):
    """An evaluation set as a published protocol reads and cuts it; it has no training split.

    Args:
        name: Set: lambada, wikitext2, wikitext103, ptb, lm1b, ag_news, pubmed, arxiv, text8 or openwebtext.
        file: Local file in place of the hub: plain text with a row per line, .jsonl, .parquet or .csv, also compressed.
        split: Split of the hub's data set; None: the usual one. A local file is taken whole.
        detokenizer: Detokenizer: published (the set's own, with its faults) or none.
        wrapping: Form of the sequences: blocks (of joined documents), bos_eos (blocks of length - 2 between two
            tokens) or document (one document per sequence between two tokens, padded).
        inner_eos: Whether an end-of-text token follows each document inside of blocks (not with wrapping=document).
        group: Documents after which the joining restarts, the remainder being dropped; 0: never.
        crop: Part of a long document that is kept with wrapping=document: start or random.
        tokenizer: Tokenizer: a tokenizer.json, BERT's vocab.txt, a folder of tokenizer files, a hub id (gpt2), or text8
            (27 characters).
        bos_token: Token before a block or document; None: [CLS] if there is one, else the end-of-text token.
        end_token: End-of-text token; None: the one that the tokenizer's files name, or a customary one.
        pad_token: Padding token; None: [PAD] if there is one, else the end-of-text token.
        length: Tokens per sequence.
    """

    def __init__(
        self,
        *,
        name: str,
        file: str | None = None,
        split: str | None = None,
        detokenizer: Literal["published", "none"] = "published",
        wrapping: Wrapping = "blocks",
        inner_eos: bool = True,
        group: int = 0,
        crop: Crop = "start",
        tokenizer: str = "gpt2",
        bos_token: str | None = None,
        end_token: str | None = None,
        pad_token: str | None = None,
        length: int = 1024,
    ) -> None:
        if name not in BENCHMARKS:
            raise ValueError(f"name '{name}' does not exist; there are {', '.join(BENCHMARKS)}")
        if length < 3 or group < 0:
            raise ValueError(f"length must be at least 3 and group at least 0, not {length} and {group}")
        if tokenizer == "text8" and (wrapping != "blocks" or inner_eos):
            raise ValueError("tokenizer='text8' has no special tokens: set wrapping='blocks' and inner_eos=False")
        self.name, self.file, self.source_split, self.length = name, file, split, length
        self.wrapping, self.inner_eos, self.group = wrapping, inner_eos and wrapping != "document", group
        self.crop: Crop = crop
        self.tokenizer, self.bos_token, self.end_token, self.pad_token = tokenizer, bos_token, end_token, pad_token
        self.detokenize = BENCHMARKS[name].detokenize if detokenizer == "published" else unchanged

    @property
    def title(self) -> str:
        """Name of the set, with a split that is not the usual one."""
        usual = self.source_split in (None, BENCHMARKS[self.name].split) or self.file
        return self.name if usual else f"{self.name}_{self.source_split}"

    def describe(self) -> str:
        """Source, detokenizer, wrapping and tokenizer."""
        source = self.file or f"{BENCHMARKS[self.name].repository}, {self.source_split or BENCHMARKS[self.name].split}"
        inner = "with" if self.inner_eos else "without"
        return (
            f"{self.name} ({source}), detokenizer {self.detokenize.__name__}, {self.wrapping} of {self.length} tokens "
            f"of {self.tokenizer}, {inner} end-of-text tokens between documents"
        )

    def vocab_size(self) -> int | None:
        """None: it is the tokenizer's."""
        return None

    def codec(self) -> Codec:
        """Codec of the tokenizer."""
        return self._vocabulary.codec

    def fingerprint(self) -> str:
        """A hash of the rows and of all settings."""
        settings = (self.wrapping, self.group, self.crop, self.bos_token, self.pad_token, self.length)
        return corpus_key(self._key("valid"), *map(str, settings))

    def check_cache(self) -> None:
        """Remove the cached tokens if they are damaged."""
        self._check("valid")

    def split(self, name: Split) -> Sequences:
        """The sequences of the set. UserError for the training split, and for a set without a sequence."""
        self._check_split(name)
        corpus, (codec, end) = self.corpus("valid"), self._vocabulary
        bos, pad = (self._token(codec, *pair) for pair in ((self.bos_token, "[CLS]"), (self.pad_token, "[PAD]")))
        if self.wrapping == "document":
            sequences: Sequences = Rows(corpus.tokens, corpus.ends, self.length, (bos, end), pad, self.crop)
        else:
            around = (bos, end) if self.wrapping == "bos_eos" else None
            sequences = Blocks(corpus.tokens, corpus.ends, self.length, self.group, around)
        if not len(sequences):
            raise UserError(
                f"{self.describe()} is empty: {len(corpus.ends):,} documents with {len(corpus.tokens):,} tokens make "
                "no sequence. Lower data.length, or check data.file."
            )
        return sequences

    def key(self, name: Split) -> str:
        """A hash of the rows, the detokenizer and the tokenizer."""
        self._check_split(name)
        if self.file is None:
            rows = (BENCHMARKS[self.name].repository, str(self.source_split))
        else:
            if not expanded(self.file).is_file():
                next(rows_of(self.name, None, self.file))  # its message
            rows = (content_hash(expanded(self.file)), self.name)
        own = (self._vocabulary.codec.tokenizer.to_str(), str(self._vocabulary.end), str(self.inner_eos))
        return corpus_key("data_benchmark 1", *rows, self.detokenize.__name__, *own)

    def tokenize(self, name: Split) -> Tokenized:
        """Every row as a document, blank ones too."""
        texts = map(self.detokenize, rows_of(self.name, self.source_split, self.file))
        end = self._vocabulary.end if self.inner_eos else None
        return Tokenized(self.codec(), texts, partial(_encoded, self.codec(), end))

    def _check_split(self, name: Split) -> None:
        if name != "valid":
            raise UserError(f"{self.name} of data=benchmark is for evaluation alone: train on other data, such as hub.")

    def _token(self, codec: Codec, name: str | None, usual: str) -> int:
        """The id of a token; of None, of the usual one or else the end-of-text token."""
        found = codec.tokenizer.token_to_id(name or usual)
        if found is None and name is not None:
            raise UserError(f"The tokenizer {self.tokenizer} has no token {name!r}.")
        return self._vocabulary.end if found is None else found

    @cached_property
    def _vocabulary(self) -> EndedCodec:
        if self.tokenizer == "text8":
            return EndedCodec(character_codec(" abcdefghijklmnopqrstuvwxyz", unknown=False), 0)
        return read_ended_tokenizer(self.tokenizer, self.end_token)


def _encoded(codec: Codec, end: int | None, texts: list[str]) -> Iterator[Tokens]:
    for ids in codec.encode_batch(texts):
        yield np.array(ids if end is None else [*ids, end], np.int64)


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return BenchmarkData
