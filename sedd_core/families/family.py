"""Formats of families whose network is an installed backbone, name for name: a folder as on the hub, or a file of
PyTorch Lightning.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from ..console import say
from ..errors import UserError
from ..files import check_readable
from ..record.node import Node
from ..record.record import Record
from ..registry.plugins import plugin
from ..stages import Backbone, Format
from ..tensors import INDEX, SAVED, read_outline, read_weights
from .config import CONFIG, read_config
from .lightning import read_lightning

SAFE, PICKLED, TOKENIZER = "model.safetensors", "pytorch_model.bin", "tokenizer.json"
WEIGHTS = (SAFE, f"model{INDEX}", PICKLED)
"""Files of weights, the preferred ones first."""
KEYS = {
    "num_states": ("vocab_size",),
    "hidden_size": ("hidden_dim", "hidden_size"),
    "n_blocks": ("n_blocks", "num_hidden_layers"),
    "n_heads": ("n_heads", "num_attention_heads"),
    "cond_dim": ("cond_dim", "timestep_cond_dim"),
}
"""Keys of configs that state a size of the network, by its name as an argument of backbones."""
LENGTHS = ("model_length", "length", "max_seq_len")
"""Keys that state the number of tokens per training sequence."""


class Process(NamedTuple):
    """What a family's network was trained for."""

    graph: Node
    noise: Node
    head: Node
    model: dict[str, Any]
    """Arguments of the backbone besides its sizes, such as what it reads of the noise level."""


class FamilyFormat(Format):
    """Abstract format of a family: a subclass says how it is recognized and what its network was trained for.

    Sizes come from the tensors; a config that states others is refused, and what it leaves out is reported.
    """

    files = (CONFIG, *WEIGHTS, "model-*.safetensors", TOKENIZER)
    network: ClassVar[str]
    """Plugin of the backbone, which infers its sizes (`Backbone.sizes_of`)."""
    prefix: ClassVar[str] = "backbone."
    """Prefix of the names of the network's tensors, which is removed; other tensors are left out."""

    @abstractmethod
    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """Whether a config is of this family; None if it does not tell.

        Args:
            config: Config of a folder or of a run; empty if there is none.
        """

    @abstractmethod
    def claims_names(self, names: Set[str]) -> bool:
        """Whether tensors with these names are of this family, where the config does not tell."""

    @abstractmethod
    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """What the network was trained for.

        Args:
            config: Config of a folder or of a run; empty if there is none.
            sizes: Sizes of the network.

        Raises:
            UserError: The config states a variant that no plugin expresses.
        """

    def adapted(self, state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors as the backbone names and shapes them; values may be on the meta device.

        Args:
            state: Tensors by name, without the prefix.
            config: Config of a folder or of a run.
        """
        return state

    def stated(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes that a config states, by argument of the backbone."""
        return {name: config[key] for name, keys in KEYS.items() for key in keys if key in config}

    def matches(self, path: Path) -> bool:
        """Whether the config is of this family; if it does not tell, whether the names of the tensors are."""
        try:
            claimed = self.claims(_config(path)) if _has_weights(path) else False
            return self.claims_names(_outline(path).keys()) if claimed is None else claimed
        except UserError:
            for file in (path, path / CONFIG, *(path / name for name in WEIGHTS)):
                check_readable(file)
            return False

    def record(self, path: Path) -> Record:
        """Graph, noise, head and sizes of the network, and the length of its sequences."""
        config, network = _config(path), cast("type[Backbone]", plugin(self.network))
        with _named(path):
            state = self.adapted(self._own(_outline(path), path), config)
        try:
            sizes = network.sizes_of(state)
        except (UserError, KeyError, IndexError, ValueError, TypeError) as error:
            raise UserError(f"The tensors in {path} are not those of {self.title}: {error}") from error
        stated = self.stated(config)
        sizes = {name: stated[name] for name in KEYS if name in stated and name not in sizes} | sizes
        self._compare(path, stated, sizes)
        with _named(path):
            graph, noise, head, arguments = self.process(config, sizes)
        if isinstance(config.get("dropout"), float | int):
            arguments = arguments | {"dropout": float(config["dropout"])}
        length = next((config[key] for key in LENGTHS if config.get(key) is not None), None)
        model = Node("plugin", self.network, sizes | arguments)
        return Record(
            Node("core", "Train", {"graph": graph, "noise": noise, "head": head, "model": model, "length": length})
        )

    def weights(self, path: Path, averaged: bool) -> dict[str, Tensor]:
        """The tensors by the backbone's names; a Lightning file has averages too."""
        config = _config(path)
        if path.is_file():
            return self.adapted(read_lightning(path).chosen(self.prefix, averaged, path), config)
        return self.adapted(self._own(read_weights(_weights_of(path)), path), config)

    def tokenizer(self, path: Path) -> Path | None:
        """The folder's tokenizer.json, if it has one."""
        return path / TOKENIZER if (path / TOKENIZER).is_file() else None

    def _own(self, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
        """The tensors with the prefix, which is removed."""
        own = {name.removeprefix(self.prefix): v for name, v in state.items() if name.startswith(self.prefix)}
        if not own:
            raise UserError(
                f"{path} is not {self.title}: no tensor's name begins with {self.prefix!r} (present: "
                f"{', '.join(sorted(state)[:4]) or 'none'})."
            )
        return own

    def _compare(self, path: Path, stated: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        """UserError if the config contradicts the tensors; what it leaves out is reported."""
        wrong = [
            f"{name} is {stated[name]!r}, by the tensors {sizes[name]}"
            for name in stated
            if stated[name] != sizes[name]
        ]
        if wrong:
            raise UserError(
                f"The config of {path} disagrees with its tensors: {'; '.join(wrong)}. Get both from the same model."
            )
        inferred = [f"{name}={sizes[name]}" for name in KEYS if name not in stated]
        if inferred:
            _say(f"{path}: its config does not state all sizes; inferred from the tensors: {', '.join(inferred)}.")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Context that puts a path before the UserErrors of a family, which do not know it."""
    try:
        yield
    except UserError as error:
        raise (error if str(path) in str(error) else UserError(f"{path} cannot be read: {error}")) from error


@cache
def _say(message: str) -> None:
    """Print a message, once per process."""
    say(message)


def _config(path: Path) -> dict[str, Any]:
    """Config of a folder or of a run; a folder without one has an empty config."""
    if path.is_file():
        return read_lightning(path).config
    check_readable(path / CONFIG)
    return read_config(path) if (path / CONFIG).is_file() else {}


def _has_weights(path: Path) -> bool:
    return path.suffix in SAVED if path.is_file() else any((path / name).is_file() for name in WEIGHTS)


def _weights_of(folder: Path) -> Path:
    """A folder's file of weights, or the first name of one."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / SAFE)


def _outline(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the meta device."""
    if path.is_dir():
        return read_outline(_weights_of(path))
    return {name: torch.empty_like(value, device="meta") for name, value in read_lightning(path).weights.items()}
