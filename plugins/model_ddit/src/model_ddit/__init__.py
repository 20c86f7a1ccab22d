"""The diffusion transformer of SEDD, with the published parameter names.

A DiT (Peebles and Xie 2023) over tokens: pre-norm blocks with shifts, scales and gates computed from the noise level
(adaLN-zero), rotary position embeddings (Su et al. 2021), bidirectional attention, and an untied head.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sedd_core import UserError, hookimpl
from sedd_core.stages import Backbone, BlockBackbone, NoiseLevel

from .attention import Attend, Name, backend
from .blocks import Past, after_past, mask_after_past, mask_beside_clean
from .layers import Block, LabelEmbedding, NoiseEmbedding, OutputLayer, Rotary, TokenEmbedding
from .sdpa import attend

Reads = Literal["sigma", "time", "nothing"]
LABELS = "cond_map.embedding_table.weight"


class DDiT(BlockBackbone):
    """The published diffusion transformer.

    Parameters are named as published: `vocab_embed`, `sigma_map`, `rotary_emb`, `blocks.*` and `output_layer`.

    Args:
        num_states: Number S of states; set by the run from the graph.
        hidden_size: Width D of the features.
        n_blocks: Number of transformer blocks.
        n_heads: Number of attention heads; hidden_size / n_heads must be even.
        cond_dim: Width of the embedding of the noise level.
        dropout: Dropout probability after attention and after each block's MLP.
        num_classes: Number of classes of a condition, whose labels [B] are 0 .. num_classes - 1; num_classes itself is
            the label of no class, which cond=None means too. 0: the network takes no condition.
        reads: Part of the noise level that the network is given: sigma (SEDD, Duo, UDLM), time (GIDD), or nothing
            (MDLM, RADD), for which it embeds zeros.
        attention: Implementation of attention: sdpa (torch's own, everywhere), flash (flash-attn; trains in bf16 on a
            GPU) or flex (torch's FlexAttention; trains on a GPU). The weights are the same.
        block_size: Length of the blocks of block diffusion, each of which is denoised given the clean blocks before it;
            0: the whole sequence is one block.
        activation_checkpointing: Whether the backward pass recomputes each block from its input, which alone is kept:
            less memory for about a third more computation, and the same numbers.

    Raises:
        ValueError: A size is below 1, num_classes below 0, n_heads does not divide hidden_size into heads of an even
            size, dropout is not in [0, 1), flash-attn has no kernel for the size of a head, or blocks are to be
            computed by another attention than sdpa.

    Source: SEDD, appendix C; DiT (Peebles and Xie 2023); zeros in place of sigma: MDLM (Sahoo et al. 2024,
    arXiv 2406.07524) without time conditioning; classes: UDLM (Schiff et al. 2024, arXiv 2412.10193).
    """

    def __init__(
        self,
        *,
        num_states: int,
        hidden_size: int = 768,
        n_blocks: int = 12,
        n_heads: int = 12,
        cond_dim: int = 128,
        dropout: float = 0.1,
        num_classes: int = 0,
        reads: Reads = "sigma",
        attention: Name = "sdpa",
        block_size: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"hidden_size": hidden_size, "n_blocks": n_blocks, "n_heads": n_heads, "cond_dim": cond_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if hidden_size % n_heads or hidden_size // n_heads % 2:
            raise ValueError(f"n_heads={n_heads} must divide hidden_size={hidden_size} into heads of an even size")
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0, not {num_classes}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        head_size = hidden_size // n_heads
        if attention == "flash" and (head_size % 8 or head_size > 256):
            raise ValueError(
                f"attention='flash' needs a multiple of 8 up to 256 as the size of a head, not {head_size}"
            )
        if block_size < 0 or (block_size and attention != "sdpa"):
            raise ValueError(f"block_size={block_size} must be at least 0, and above 0 needs attention='sdpa'")
        self.reads: Reads = reads
        self.block_size = block_size
        self.attention, self.activation_checkpointing = backend(attention), activation_checkpointing
        self.vocab_embed = TokenEmbedding(num_states, hidden_size)
        self.sigma_map = NoiseEmbedding(cond_dim)
        self.cond_map = LabelEmbedding(num_classes, cond_dim) if num_classes else None
        self.rotary_emb = Rotary(hidden_size // n_heads)
        self.blocks = nn.ModuleList(Block(hidden_size, n_heads, cond_dim, dropout) for _ in range(n_blocks))
        self.output_layer = OutputLayer(hidden_size, num_states, cond_dim)

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor]) -> dict[str, int]:
        """Infer num_states, hidden_size, n_blocks, cond_dim, num_classes, and n_heads from the rotary frequencies.

        Args:
            state: Tensors by name; without `rotary_emb.inv_freq`, n_heads is left out.

        Raises:
            UserError: A tensor is missing, or has another number of axes.
        """
        names = (
            "vocab_embed.embedding",
            "sigma_map.mlp.0.weight",
            "blocks.0.attn_qkv.weight",
            "output_layer.linear.weight",
        )
        faulty = [name for name in names if name not in state or state[name].ndim != 2]
        if faulty:
            raise UserError(f"{', '.join(faulty)} missing, or not a matrix.")
        states, width = state["vocab_embed.embedding"].shape
        blocks = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        sizes = {"num_states": states, "hidden_size": width, "n_blocks": blocks, "cond_dim": len(state[names[1]])}
        if "rotary_emb.inv_freq" in state:
            sizes["n_heads"] = width // max(2 * state["rotary_emb.inv_freq"].numel(), 1)
        if LABELS in state:
            sizes["num_classes"] = len(state[LABELS]) - 1
        return sizes

    @property
    def reads_noise(self) -> bool:
        """Whether `reads` names a part of the noise level."""
        return self.reads != "nothing"

    def without_cond(self, cond: Tensor, dropped: Bool[Tensor, " B"]) -> Tensor:
        """The label of no class where it is dropped. UserError if the network takes no classes."""
        if self.cond_map is None:
            return super().without_cond(cond, dropped)
        return cond.masked_fill(dropped, self.cond_map.num_classes)

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to S logits."""
        return self.output_layer.linear

    def forward(
        self,
        x: Int64[Tensor, "B L"],
        level: NoiseLevel,
        cond: Tensor | None = None,
        documents: Int64[Tensor, "B L"] | None = None,
        clean: Int64[Tensor, "B L"] | None = None,
        past: Past | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Features [B, L, D] of noised sequences.

        Rotary positions count along the row: attention depends on differences of positions alone, which are those
        within a document.

        Args:
            x: States [B, L].
            level: Noise level [B] or [B, L].
            cond: Labels [B] of the classes; None: no class.
            documents: Document [B, L] of each position, which attends to the positions of its document; None: to all.
            clean: Clean tokens [B, L] that later blocks attend to; None: x. Not read without blocks.
            past: Keys and values of the tokens before x, from `remember`; None: x starts the sequence.

        Raises:
            UserError: The condition does not fit, or the attention backend cannot run here.
        """
        c, length = self._noise(x, level, cond), x.shape[1]
        if not self.block_size:
            return self.output_layer(self._blocks(x, c, self.rotary_emb(length), self.attention(documents)), c)
        if documents is not None:
            raise UserError("model.block_size cannot keep documents of a sequence separate: set data.documents=joined.")
        if past is not None:
            return self.output_layer(self._after(x, c, past, clean=False)[0], c)
        clean = x if clean is None else clean
        if self.reads != "nothing" or c.shape[1] > 1:  # else the clean half has the same
            zero = self._noise(clean, NoiseLevel(*(torch.zeros_like(part) for part in level)), cond)
            c = torch.cat([half.expand(-1, length, -1) for half in (c, zero)], 1)
        rotation = tuple(torch.cat([part, part]) for part in self.rotary_emb(length))
        see = partial(attend, mask=mask_beside_clean(length, self.block_size, x.device))
        features = self._blocks(torch.cat([x, clean], 1), c, rotation, see)[:, :length]
        return self.output_layer(features, c[:, :length])

    @torch.no_grad()
    def remember(self, clean: Int64[Tensor, "B P"], cond: Tensor | None = None, past: Past | None = None) -> Past:
        """Keys and values of clean blocks and of those before them. Args: see `BlockBackbone.remember`."""
        zero = torch.zeros(len(clean), dtype=torch.float32, device=clean.device)
        return self._after(clean, self._noise(clean, NoiseLevel(zero, zero, zero), cond), past, clean=True)[1]

    def _after(
        self, x: Int64[Tensor, "B L"], c: Float[Tensor, "B M C"], past: Past | None, *, clean: bool
    ) -> tuple[Float[Tensor, "B L D"], Past]:
        """Features of tokens after a past, and the past with them."""
        before, length = past.length if past else 0, x.shape[1]
        rotation = tuple(part[before:] for part in self.rotary_emb(before + length))
        mask = mask_after_past(length, before, self.block_size, clean=clean, device=x.device)
        features, seen = self.vocab_embed(x), list[list[Tensor]]()
        for block, (see, pair) in zip(self.blocks, after_past(past, len(self.blocks), mask), strict=True):
            features = block(features, c, rotation, see)
            seen.append(pair)
        return features, Past(*zip(*seen, strict=True))

    def _blocks(
        self, x: Int64[Tensor, "B L"], c: Float[Tensor, "B M C"], rotation: tuple[Tensor, ...], see: Attend
    ) -> Float[Tensor, "B L D"]:
        """Features after all transformer blocks."""
        features = self.vocab_embed(x)
        for block in self.blocks:
            if self.activation_checkpointing and torch.is_grad_enabled():
                features = checkpoint(block, features, c, rotation, see, use_reentrant=False)
            else:
                features = block(features, c, rotation, see)
        return features

    def _noise(self, x: Int64[Tensor, "B L"], level: NoiseLevel, cond: Tensor | None) -> Float[Tensor, "B M C"]:
        """Embedding of what the network is given beside the states: noise level and class; M = 1 or L."""
        c = F.silu(self.sigma_map(self._read(level)))
        c = c[:, None] if level.sigma.ndim == 1 else c
        return c if self.cond_map is None and cond is None else c + self._labels(x, cond)

    def _labels(self, x: Int64[Tensor, "B L"], cond: Tensor | None) -> Float[Tensor, "B 1 C"]:
        """What the classes add to the embedding of the noise level. UserError if they do not fit the network."""
        if self.cond_map is None:
            raise UserError(
                "model_ddit takes no condition: leave cond unset, or choose a model that supports conditions "
                "(model.num_classes)."
            )
        none = self.cond_map.num_classes
        if cond is None:
            cond = torch.full_like(x[:, 0], none)
        elif cond.shape != x.shape[:1] or cond.is_floating_point():
            raise UserError(
                f"model_ddit takes a label (int) per sequence as its condition, not {cond.dtype} {list(cond.shape)}."
            )
        elif cond.device.type == "cpu" and not torch.compiler.is_compiling() and ((cond < 0) | (cond > none)).any():
            raise UserError(
                f"model_ddit takes the labels 0 to {none} as its condition ({none}: no class), not {cond.tolist()}."
            )
        return F.silu(self.cond_map(cond))[:, None]

    def _read(self, level: NoiseLevel) -> Float[Tensor, "*shape"]:
        """What the network is given of the noise level [B] or [B, L]."""
        return {"sigma": level.sigma, "time": level.t, "nothing": torch.zeros_like(level.sigma)}[self.reads]


@hookimpl
def sedd_model() -> type[Backbone]:
    """The class of this plugin."""
    return DDiT
