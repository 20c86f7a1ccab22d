"""Formats of families whose network is a decoder of transformers: a config.json, and weights with other names."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..console import say
from ..errors import UserError
from ..files import check_readable
from ..record.node import Node
from ..record.record import Record
from ..stages import Format
from ..tensors import INDEX, read_outline, read_weights
from ..text.tokenizer import read_tokenizer
from .config import CONFIG, read_config
from .family import Process

SAFE, PICKLED, TOKENIZER, TOKENS = "model.safetensors", "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json"
WEIGHTS = (SAFE, f"model{INDEX}", PICKLED)
"""Files of weights, the preferred ones first."""
HEAD = "lm_head.weight"


class Vocabulary(NamedTuple):
    """How the rows of a model's embeddings become states: V tokens, and the mask after them."""

    size: int
    """Number V of data tokens."""
    mask: int | None
    """Row of the mask; None: the model has no mask, which becomes the mean of all tokens."""

    def states(self, rows: Float[Tensor, "R D"]) -> Float[Tensor, "S D"]:
        """Rows [S, D] of the states, of rows [R, D] of which some may be padding."""
        tokens = rows[: self.size]
        mask = tokens.float().mean(0, keepdim=True) if self.mask is None else rows[self.mask : self.mask + 1]
        return torch.cat([tokens, mask.to(tokens.dtype)])


class DecoderFormat(Format):
    """Abstract format of a decoder whose attention is bidirectional, on a process with a mask.

    The mask is the state after the tokens, as everywhere; a model whose mask lies among its tokens keeps that row too,
    so that ids stay those of the tokenizer. Rows beyond the tokenizer in the folder are padding, which is dropped.
    """

    files = (CONFIG, *WEIGHTS, "model-*.safetensors", TOKENIZER, TOKENS)
    embeddings: ClassVar[tuple[str, ...]]
    """Possible names of the embeddings in the backbone."""
    network: ClassVar[str]
    """Plugin of the backbone, with the arguments `num_states` and `config` (JSON)."""

    @abstractmethod
    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """Whether a config is of this family; None if it does not tell.

        Args:
            config: Content of config.json; empty if there is none.
        """

    @abstractmethod
    def claims_names(self, names: Set[str]) -> bool:
        """Whether tensors with these names are of this family, where the config does not tell."""

    @abstractmethod
    def architecture(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of transformers, with its `model_type`.

        Args:
            config: Content of config.json.

        Raises:
            UserError: The config is incomplete, or states a variant that the architecture does not express.
        """

    @abstractmethod
    def renamed(self, name: str, names: Set[str]) -> str | None:
        """The backbone's name of a tensor: `trunk.*` or `lm_head.weight`; None: the tensor is not needed.

        Args:
            name: Name in the files.
            names: All names in the files.
        """

    @abstractmethod
    def process(self, vocab_size: int) -> Process:
        """Graph, noise and head, and arguments of the network besides its sizes.

        Args:
            vocab_size: Number V of data tokens.
        """

    def length(self, config: Mapping[str, Any]) -> int | None:
        """Number of tokens per training sequence; None if the config does not state it."""
        return None

    def matches(self, path: Path) -> bool:
        """Whether the config is of this family; if it does not tell, whether the names of the tensors are."""
        for name in ("", CONFIG, *WEIGHTS):
            check_readable(path / name)
        if not any((path / name).is_file() for name in WEIGHTS):
            return False
        try:
            claimed = self.claims(read_config(path) if (path / CONFIG).is_file() else {})
            return self.claims_names(read_outline(_weights_of(path)).keys()) if claimed is None else claimed
        except UserError:
            return False

    def record(self, path: Path) -> Record:
        """Graph, noise and head of the family, and the network by its config."""
        config = read_config(path)
        outline = self._named(read_outline(_weights_of(path)))
        vocabulary = self._vocabulary(path, config, outline)
        architecture = self.architecture(config) | {"tie_word_embeddings": HEAD not in outline}
        if vocabulary.mask is None:
            _say(f"{path}: no mask token is stated; it gets the mean embedding, and has to be trained (init_from=...).")
        graph, noise, head, arguments = self.process(vocabulary.size)
        own = {"num_states": vocabulary.size + 1, "config": json.dumps(architecture, sort_keys=True)}
        nodes = {"graph": graph, "noise": noise, "head": head, "length": self.length(config)}
        nodes["model"] = Node("plugin", self.network, own | arguments)
        return Record(Node("core", "Train", nodes))

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        """The tensors by the backbone's names, embeddings and head by states."""
        state = self._named(read_weights(_weights_of(path)))
        vocabulary = self._vocabulary(path, read_config(path), state)
        return {
            name: vocabulary.states(value) if name in (HEAD, *self.embeddings) else value
            for name, value in state.items()
        }

    def tokenizer(self, path: Path) -> Path | None:
        """The folder's tokenizer.json, if it has one."""
        return path / TOKENIZER if (path / TOKENIZER).is_file() else None

    def _named(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = {self.renamed(name, state.keys()): value for name, value in state.items()}
        return {name: value for name, value in named.items() if name is not None}

    def _vocabulary(self, path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Vocabulary:
        """Tokens and mask, by the tokenizer in the folder, or else by the rows of the embeddings."""
        rows = next((len(state[name]) for name in self.embeddings if name in state), None)
        if rows is None:
            raise UserError(f"{path} is not {self.title}: no tensor of embeddings is in {_weights_of(path).name}.")
        own = self.tokenizer(path)
        codec = None if own is None else read_tokenizer(own)
        size = rows if codec is None else codec.vocab_size
        mask = config.get("mask_token_id")
        if mask is None and codec is not None:
            mask = codec.tokenizer.token_to_id(_mask_token(path))
        if size > rows or not (mask is None or (type(mask) is int and 0 <= mask < rows)):
            raise UserError(
                f"The files in {path} disagree: embeddings of {rows:,} tokens, a tokenizer of {size:,}, and the mask "
                f"{mask}. Get all of them from the same model."
            )
        return Vocabulary(mask if mask is not None and mask == size - 1 else size, mask)


def _mask_token(path: Path) -> str:
    """The mask token that the tokenizer's config names; "" if it names none."""
    try:
        token = json.loads((path / TOKENS).read_text(encoding="utf-8")).get("mask_token") or ""
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _weights_of(folder: Path) -> Path:
    """A folder's file of weights, or the first name of one."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / SAFE)


@cache
def _say(message: str) -> None:
    """Print a message, once per process."""
    say(message)
