"""Pairs of a prompt and a response: the prompt is given, the response is learned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.console import say
from sedd_core.data import PackedData, Tokenized, Tokens, content_hash, corpus_key, title_of
from sedd_core.files import check_readable, expanded
from sedd_core.stages import Batch, Data, Sequences, Split
from sedd_core.text import Codec, EndedCodec, read_ended_tokenizer, read_text

Pair = tuple[str, str]


class PairSequences(Sequences):
    """One pair per sequence: prompt, response, end-of-text token, and the same token as padding.

    The prompt is outside of the loss mask, hence never noised; padding is inside, but not counted as text.

    Args:
        tokens: Token ids of all prompts and responses in turn, each response with its end [N].
        ends: End position of each prompt and response in `tokens` [2 D].
        length: Tokens per sequence, L. A pair whose prompt has L tokens or more is left out.
    """

    conditioned_on = "prompts"

    def __init__(self, tokens: Integer[Tensor, " N"], ends: Int64[Tensor, " E"], length: int) -> None:
        self.tokens, self.length = tokens, length
        starts = torch.cat([ends.new_zeros(1), ends])[:-1:2]
        bounds = torch.stack([starts, ends[::2], ends[1::2]], -1)
        self.bounds = bounds[bounds[:, 1] - bounds[:, 0] < length]
        self.left_out = len(bounds) - len(self.bounds)
        self.cut = int((self.bounds[:, 2] - self.bounds[:, 0] > length).sum())

    def __len__(self) -> int:
        return len(self.bounds)

    def batch(self, indices: Int64[Tensor, " B"]) -> Batch:
        """The pairs at `indices` [B] as int64 tokens [B, L], the response in the loss mask."""
        start, middle, end = self.bounds[indices].T[..., None]
        positions = start + torch.arange(self.length)
        tokens = self.tokens[torch.where(positions < end, positions, len(self.tokens) - 1)]  # the last one is an end
        response = positions >= middle
        return Batch(tokens.to(torch.int64), response, text=response & (positions < end))


class Pairs(PackedData):
    """Prompts and responses from a JSONL file or a data set of the Hugging Face hub.

    Args:
        path: JSONL file (one object per line; may be compressed), or folder or hub id of a data set.
        valid_path: File, folder or hub id of the validation pairs; None: the last pairs of `path`.
        valid_pairs: Number of pairs held out for validation, without valid_path.
        split: Split of a data set; also of valid_path, which then needs one of that name.
        prompt_field: Key or column of the prompt.
        response_field: Key or column of the response.
        tokenizer: Tokenizer: a tokenizer.json, BERT's vocab.txt, a folder of tokenizer files, or a hub id.
        end_token: End-of-text token after each response; None: the one that the tokenizer's files name, or a customary
            one.
        length: Tokens per sequence, prompt and response together.

    Raises:
        ValueError: length is below 2, or valid_pairs below 1.
    """

    def __init__(
        self,
        *,
        path: str,
        valid_path: str | None = None,
        valid_pairs: int = 100,
        split: str = "train",
        prompt_field: str = "prompt",
        response_field: str = "response",
        tokenizer: str = "gpt2",
        end_token: str | None = None,
        length: int = 1024,
    ) -> None:
        if length < 2:
            raise ValueError(f"length must be at least 2, not {length}")
        if valid_pairs < 1:
            raise ValueError(f"valid_pairs must be at least 1, not {valid_pairs}")
        self.path, self.valid_path, self.valid_pairs, self.source_split = path, valid_path, valid_pairs, split
        self.fields = (prompt_field, response_field)
        self.tokenizer, self.end_token, self.length = tokenizer, end_token, length

    @property
    def title(self) -> str:
        """The name of what is validated on, in short."""
        return title_of(self.valid_path or self.path)

    def describe(self) -> str:
        """Both sources, the tokenizer and the sequence length."""
        valid = self.valid_path or f"its last {self.valid_pairs:,} pairs"
        return (
            f"pairs ({', '.join(self.fields)}) of {self.path}, validated on {valid}, in tokens of {self.tokenizer}, "
            f"one pair per sequence of {self.length}"
        )

    def vocab_size(self) -> int | None:
        """None: it is the tokenizer's."""
        return None

    def codec(self) -> Codec:
        """Codec of the tokenizer."""
        return self._vocabulary.codec

    def end(self) -> int | None:
        """The end-of-text token."""
        return self._vocabulary.end

    def split(self, name: Split) -> Sequences:
        """The pairs of a split; what is left out or cut is reported. UserError if no pair is left."""
        corpus = self.corpus(name)
        sequences = PairSequences(corpus.tokens, corpus.ends, self.length)
        if not len(sequences):
            raise UserError(f"Every prompt of the {name} split fills data.length={self.length}: raise it.")
        if (sequences.left_out or sequences.cut) and name not in self._warned:
            self._warned.add(name)
            say(
                f"warning: of the {name} split of {self.title}, {sequences.left_out:,} pairs are left out, whose "
                f"prompts fill data.length={self.length}, and {sequences.cut:,} responses are cut."
            )
        return sequences

    def key(self, name: Split) -> str:
        """A hash of the pairs and the tokenizer."""
        own = self._vocabulary.codec.tokenizer.to_str(), str(self._vocabulary.end)
        part = () if self.valid_path else (name, str(self.valid_pairs))
        return corpus_key("data_pairs 1", self._identity(self._source(name)), *part, *self.fields, *own)

    def tokenize(self, name: Split) -> Tokenized:
        """Prompt and response of each pair as two documents; the second has the end-of-text token."""
        return Tokenized(self.codec(), self._encoded(name))

    def _encoded(self, name: Split) -> Iterator[Tokens]:
        encode = self._vocabulary.codec.tokenizer.encode
        for prompt, response in self._pairs(name):
            yield np.array(encode(prompt, add_special_tokens=False).ids, np.int64)
            yield np.array([*encode(response, add_special_tokens=False).ids, self._vocabulary.end], np.int64)

    def _source(self, name: Split) -> str:
        return self.valid_path if self.valid_path and name == "valid" else self.path

    def _identity(self, source: str) -> str:
        """A hash of what a source contains."""
        path = expanded(source)
        return content_hash(path) if path.exists() else self._dataset(source)._fingerprint

    def _pairs(self, name: Split) -> list[Pair]:
        """The pairs of a split. UserError if there are too few, or one is not of texts."""
        source = self._source(name)
        pairs = self._lines(expanded(source)) if expanded(source).is_file() else self._rows(source)
        if self.valid_path:
            return pairs
        if len(pairs) <= self.valid_pairs:
            raise UserError(
                f"{source} has {len(pairs):,} pairs, but the last {self.valid_pairs:,} are held out for validation. "
                "Lower data.valid_pairs."
            )
        return pairs[: -self.valid_pairs] if name == "train" else pairs[-self.valid_pairs :]

    def _lines(self, file: Path) -> list[Pair]:
        check_readable(file)
        pairs = list[Pair]()
        for number, line in enumerate(read_text(file, "JSONL").split("\n"), start=1):
            if line.strip():
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UserError(f"Line {number:,} of {file} is not JSON: {error}.") from error
                pairs.append(self._pair(content, f"Line {number:,} of {file}"))
        return pairs

    def _rows(self, source: str) -> list[Pair]:
        return [self._pair(row, f"Row {index + 1:,} of {source}") for index, row in enumerate(self._dataset(source))]

    def _pair(self, content: Any, where: str) -> Pair:
        """The texts of a pair. UserError if it lacks one."""
        prompt, response = (content.get(field) if isinstance(content, dict) else None for field in self.fields)
        if not (isinstance(prompt, str) and isinstance(response, str)):
            found = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else type(content).__name__
            raise UserError(
                f"{where} has no texts {' and '.join(self.fields)} (present: {found}): set data.prompt_field and "
                "data.response_field."
            )
        return prompt, response

    def _dataset(self, source: str) -> Any:
        """A data set of a folder or of the hub. UserError if it cannot be loaded."""
        try:
            import datasets

            return datasets.load_dataset(source, split=self.source_split)
        except ImportError as error:
            raise UserError(
                f"{source} is not a file, and data sets need a package: pip install 'sedd-data-pairs[hub]'."
            ) from error
        except Exception as error:  # each builder raises its own errors
            line = str(error).partition("\n")[0]
            raise UserError(
                f"{source} is not a file, and cannot be loaded as a data set (split {self.source_split}): {line}."
            ) from error

    @cached_property
    def _vocabulary(self) -> EndedCodec:
        return read_ended_tokenizer(self.tokenizer, self.end_token)

    @cached_property
    def _warned(self) -> set[Split]:
        return set()


@hookimpl
def sedd_data() -> type[Data]:
    """The class of this plugin."""
    return Pairs
