"""The checkpoint layout of GIDD: models on the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sedd_core import UserError, hookimpl
from sedd_core.families import FamilyFormat, Process
from sedd_core.record import Node, Record
from sedd_core.stages import Format

CACHE, FREQUENCIES = "rotary_emb.cos_cached", "rotary_emb.inv_freq"
T_EPS = 1e-4
TOKENIZER, MASK = "tokenizer.json", "[MASK]"


class GIDDFormat(FamilyFormat):
    """GIDD: a mixture of masking and uniform noise that changes with time; the network is given the time.

    The mask is the last state.

    Source: von Rütte et al., Generalized Interpolating Discrete Diffusion (arXiv 2503.04482), github.com/dvruette/gidd.
    """

    title = "a GIDD model"
    network = "model_ddit"
    prefix = ""

    def claims(self, config: Mapping[str, Any]) -> bool | None:
        """By the share of uniform noise and the width of the embedding of the time."""
        return {"p_uniform", "timestep_cond_dim"} <= config.keys() if config else None

    def claims_names(self, names: Set[str]) -> bool:
        """A network with stored rotary embeddings, under no prefix."""
        return {CACHE, "sigma_map.mlp.0.weight"} <= names

    def process(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> Process:
        """The process of the config's share of uniform noise."""
        share, t_eps = config.get("p_uniform"), config.get("t_eps", T_EPS)
        if not isinstance(share, float | int) or not 0 <= share < 1:
            raise UserError(f"its config must state p_uniform, a number in [0, 1), not {share!r}.")
        if t_eps != T_EPS:
            raise UserError(f"its config states t_eps={t_eps!r}; supported: {T_EPS}, as published.")
        share = {"p_uniform": float(share)}
        return Process(
            graph=Node("plugin", "graph_gidd", {"vocab_size": sizes["num_states"] - 1, **share}),
            noise=Node("plugin", "noise_gidd", share),
            head=Node("plugin", "head_mean"),
            model={"reads": "time"},
        )

    def record(self, path: Path) -> Record:
        """As for all families. UserError if the folder's tokenizer has another mask than the last state."""
        record = super().record(path)
        last, mask = record.node("model").args["num_states"] - 1, _mask_of(path / TOKENIZER)
        if mask not in (None, last):
            raise UserError(
                f"{path / TOKENIZER} has the mask {MASK} as token {mask}; supported: the last state, {last}."
            )
        return record

    def adapted(self, state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
        """The rotary frequencies in place of the stored cosines and sines."""
        heads = config.get("num_attention_heads")
        if CACHE in state:
            size = state[CACHE].shape[-1]
        elif isinstance(heads, int) and heads > 0 and "vocab_embed.embedding" in state:
            size = state["vocab_embed.embedding"].shape[-1] // heads
        else:
            raise UserError(f"it has neither {CACHE} nor num_attention_heads in its config, for the size of a head.")
        kept = {name: value for name, value in state.items() if not name.startswith("rotary_emb.")}
        return {FREQUENCIES: 10000.0 ** (-torch.arange(0, size, 2).float() / size), **kept}


def _mask_of(file: Path) -> int | None:
    """The id of the mask in a tokenizer.json; None if it has none, or cannot be read, which its use explains."""
    try:
        tokens = json.loads(file.read_text(encoding="utf-8"))["added_tokens"]
        return next((token["id"] for token in tokens if token["content"] == MASK), None)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


@hookimpl
def sedd_format() -> type[Format]:
    """The class of this plugin."""
    return GIDDFormat
