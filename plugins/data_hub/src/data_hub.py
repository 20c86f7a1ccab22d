"""Hugging Face data sets and tokenizers, or local files in their place, packed to length."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from sedd_core import UserError, hookimpl
from sedd_core.codec import Codec
from sedd_core.stages import Data
from sedd_core.tokens import PackedData, corpus_key

LOADERS = {"jsonl": "json", "json": "json", "txt": "text", "parquet": "parquet", "csv": "csv"}
DOCUMENTS_AT_ONCE = 1000


class HubDataset(PackedData):
    """Documents, each followed by the tokenizer's end-of-text token, as one long run cut into sequences.

    name, config, train_split: the training data: a data set of the hub, or a local file. valid_name, valid_config,
    valid_split: the validation data; the same data set when not named. valid_documents: how many documents are held
    out from the end of the training data when both are the same split or the same local file. text_field: the
    column. tokenizer: of the hub, or a local folder. vocab: its number of tokens. length: tokens a sequence.
    """

    def __init__(
        self,
        *,
        name: str,
        config: str | None = None,
        train_split: str = "train",
        valid_name: str | None = None,
        valid_config: str | None = None,
        valid_split: str = "validation",
        valid_documents: int = 1000,
        text_field: str = "text",
        tokenizer: str = "gpt2",
        vocab: int = 50257,
        length: int = 1024,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        if vocab < 1:
            raise ValueError(f"vocab must be at least 1, not {vocab}")
        if valid_documents < 1:
            raise ValueError(f"valid_documents must be at least 1, not {valid_documents}")
        self.train_source = (name, config, train_split)
        self.valid_source = (valid_name or name, valid_config if valid_name else config, valid_split)
        self.valid_documents, self.text_field = valid_documents, text_field
        self.tokenizer, self.vocab, self.length = tokenizer, vocab, length

    def describe(self) -> str:
        """The two data sets and the tokenizer."""
        train, valid = (" ".join(part for part in s if part) for s in (self.train_source, self.valid_source))
        valid = f"its last {self.valid_documents} documents" if self._holds_out else valid
        return (
            f"{train}, validated on {valid}, in {self.vocab} tokens of {self.tokenizer}, sequences of {self.length}"
        )

    def vocab_size(self) -> int | None:
        """As stated."""
        return self.vocab

    def fingerprint(self) -> str:
        """A hash of the data sets' own fingerprints and the tokenizer."""
        train, valid = self._splits
        own = self._tokenizer.backend_tokenizer.to_str()
        held_out = str(self.valid_documents) if self._holds_out else ""
        settings = (held_out, self.text_field, str(self._end))
        return corpus_key("data_hub 2", train._fingerprint, valid._fingerprint, *settings, own)

    @property
    def _holds_out(self) -> bool:
        """Whether both splits come out of the same documents. A local file is one split, whatever it is called."""
        (train, *_), (valid, *_) = self.train_source, self.valid_source
        if _kind(train):
            return Path(train).resolve() == Path(valid).resolve()
        return self.train_source == self.valid_source

    def tokenise(self) -> tuple[Codec, list[int], list[int]]:
        """Every document, each with its end-of-text token."""
        codec = Codec(self._tokenizer.backend_tokenizer)
        train, valid = ([token for ids in self._ids(documents) for token in ids] for documents in self._splits)
        return codec, train, valid

    def _ids(self, documents: Any) -> Iterator[list[int]]:
        backend, end = self._tokenizer.backend_tokenizer, self._end
        for batch in documents.iter(DOCUMENTS_AT_ONCE):
            texts = batch[self.text_field]
            for text in texts:
                if not isinstance(text, str):
                    raise UserError(f"The column '{self.text_field}' holds {text!r}, which is no text: mend it.")
            for encoding in backend.encode_batch(texts, add_special_tokens=False):
                yield [*encoding.ids, end]

    @property
    def _end(self) -> int:
        """The token after each document."""
        end = self._tokenizer.eos_token_id
        end = self._tokenizer.sep_token_id if end is None else end
        if end is None:
            raise UserError(f"The tokenizer {self.tokenizer} has no end-of-text token to put between documents.")
        return int(end)

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            tokenizer = _load_tokenizer(self.tokenizer)
        except (OSError, ValueError) as error:
            raise _unreachable("tokenizer", self.tokenizer, "a folder with its files") from error
        if len(tokenizer) != self.vocab:
            raise UserError(
                f"The tokenizer {self.tokenizer} has {len(tokenizer)} tokens, not {self.vocab}: set data.vocab."
            )
        return tokenizer

    @cached_property
    def _splits(self) -> tuple[Any, Any]:
        """Training and validation documents."""
        train = self._documents(self.train_source)
        if not self._holds_out:
            return train, self._documents(self.valid_source)
        if self.valid_documents >= len(train):
            raise UserError(f"{self.train_source[0]} has {len(train)} documents; lower data.valid_documents.")
        cut = len(train) - self.valid_documents
        return train.select(range(cut)), train.select(range(cut, len(train)))

    def _documents(self, source: tuple[str, str | None, str]) -> Any:
        name, config, split = source
        kind = _kind(name)
        documents = _load_file(kind, name, split) if kind else _load_named(name, config, split)
        if self.text_field not in documents.column_names:
            columns = ", ".join(documents.column_names)
            raise UserError(f"{name} has no column '{self.text_field}'; it has {columns}: set data.text_field.")
        return documents


def _kind(name: str) -> str | None:
    """The loader of a local file; None for the name of a data set, or a folder."""
    return next((LOADERS[part] for part in Path(name).name.split(".")[1:] if part in LOADERS), None)


def _load_file(kind: str, name: str, split: str) -> Any:
    from datasets import load_dataset  # seconds to import: only where a run reads data

    if not Path(name).is_file():
        raise UserError(f"There is no file {name} (from {Path.cwd()}).")
    try:
        return load_dataset(kind, data_files={split: name}, split=split)
    except Exception as error:  # each of its readers raises its own
        cause = error.__cause__ or error
        raise UserError(f"{name} cannot be read as {kind}: {type(cause).__name__}: {cause}") from error


def _load_named(name: str, config: str | None, split: str) -> Any:
    from datasets import load_dataset

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:
        if "split" in str(error).lower() and not isinstance(error, OSError):
            raise UserError(
                f"{name} has no split '{split}': {error} With data.valid_split the same as data.train_split, the "
                "last data.valid_documents documents are held out."
            ) from error
        raise _unreachable("data set", name, "a .jsonl, .txt or .parquet file") from error


def _load_tokenizer(name: str) -> Any:
    """Of the hub, or a local folder: with tokenizer.json, or with the bare files of GPT-2 or BERT."""
    import transformers  # seconds to import

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what fails is said once, by us
    bare = {"merges.txt": "GPT2TokenizerFast", "vocab.txt": "BertTokenizerFast"}
    kinds = [kind for file, kind in bare.items() if (Path(name) / file).is_file()]
    if (Path(name) / "tokenizer_config.json").is_file() or not kinds:
        return transformers.AutoTokenizer.from_pretrained(name, use_fast=True)
    return getattr(transformers, kinds[0]).from_pretrained(name)


def _unreachable(what: str, name: str, instead: str) -> UserError:
    setting = "data.tokenizer" if what == "tokenizer" else "data.name (or data.valid_name)"
    return UserError(
        f"The {what} '{name}' is neither here nor could it be fetched from the Hugging Face hub. Without a network, "
        f"download it elsewhere and name {instead}: set {setting} to its path."
    )


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return HubDataset
