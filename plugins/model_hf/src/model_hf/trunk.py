"""The trunk: an encoder or decoder of transformers whose attention is bidirectional."""

from __future__ import annotations

import json
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

Attention = Literal["sdpa", "flash", "flex", "eager"]
IMPLEMENTATIONS = {"sdpa": "sdpa", "flash": "flash_attention_2", "flex": "flex_attention", "eager": "eager"}
"""Names of the attention implementations in transformers."""
SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Settings of architectures whose logits are more than a linear map of the features."""
NOT_SIZES = ("auto_map", "architectures", "torch_dtype", "dtype", "quantization_config", "pad_token_id")
"""Keys of a config.json that do not shape the network: the code of a remote model, and how its file was stored."""


def read_config(text: str, num_states: int) -> PretrainedConfig:
    """Parse the config of an architecture.

    Args:
        text: JSON object with `model_type`, as in config.json; omitted keys have the defaults of transformers.
        num_states: Number of states, which replaces `vocab_size`.

    Raises:
        ValueError: The text is not such an object, or the architecture is not supported.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config must be a JSON object, but cannot be parsed: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ValueError('config must be a JSON object with a model_type, such as {"model_type": "llama"}')
    values: dict[str, Any] = {key: value for key, value in content.items() if key not in NOT_SIZES}
    name = values.pop("model_type")
    try:
        config = AutoConfig.for_model(name, **values)
        config.vocab_size = num_states
        config.is_causal, config.is_decoder, config.use_cache = False, False, False
    except Exception as error:  # transformers validates values by errors of many types
        raise ValueError(f"config is not one of the architecture {name!r} of transformers: {error}") from error
    if config.is_encoder_decoder:
        raise ValueError(f"config describes an encoder with a decoder ({name}); choose one that is either")
    scaled = [key for key in SCALED_LOGITS if getattr(config, key, None) not in (None, 1.0)]
    if scaled:
        raise ValueError(f"config scales the logits ({', '.join(scaled)}), which the linear head does not: set null")
    return config


def build_trunk(config: PretrainedConfig, attention: Attention) -> PreTrainedModel:
    """Build the network of a config, with random weights and bidirectional attention.

    Args:
        config: Config, from `read_config`.
        attention: Implementation of attention.

    Raises:
        ValueError: The architecture has no such implementation, or stays causal.
    """
    first = attention if attention in ("sdpa", "eager") else "sdpa"
    try:
        trunk = AutoModel.from_config(config, attn_implementation=first, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, ImportError) as error:
        raise ValueError(
            f"transformers cannot build {config.model_type} with attention={attention}: {error}"
        ) from error
    if hasattr(trunk, "pooler"):
        trunk.pooler = None  # of the whole sequence: unused, without a gradient
    for module in trunk.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    states = embeddings(trunk)
    states.padding_idx = None  # which would keep the gradient of one state at zero
    if not (states.weight.is_meta or isinstance(states.weight, FakeTensor)):
        _check_bidirectional(trunk, states.weight)
    if attention != first:
        try:
            trunk.set_attn_implementation(IMPLEMENTATIONS[attention])
        except (ValueError, ImportError) as error:
            raise ValueError(f"attention={attention} is not available: {error}; set model.attention=sdpa") from error
    return trunk


def embeddings(trunk: PreTrainedModel) -> nn.Embedding:
    """The embeddings of the states of a trunk."""
    found = trunk.get_input_embeddings()
    assert isinstance(found, nn.Embedding)
    return found


@torch.no_grad()
def _check_bidirectional(trunk: PreTrainedModel, states: Tensor) -> None:
    """ValueError if the features of a position do not depend on the next: some architectures build own masks."""
    inputs, training = states[-2:].expand(2, -1, -1).clone(), trunk.training
    inputs[1, 1] = -inputs[0, 1]
    first = trunk.eval()(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, 0]
    trunk.train(training)
    if torch.equal(first[0], first[1]):
        raise ValueError(
            f"the architecture {trunk.config.model_type} stays causal in transformers with is_causal=False: choose "
            "another, such as llama, qwen2, gpt2 or bert"
        )
