"""Networks of transformers: bidirectional, shifted, tied, with a level embedding and with adapters."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.stages import Backbone, NoiseLevel
from sedd_core.testing import check_model

WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 16}
WIDE = {**WIDTH, "intermediate_size": 48}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**WIDE, "num_key_value_heads": 2},
    "qwen2": {**WIDE, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "gpt2": {**WIDTH, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gpt_neox": WIDE,
    "bert": WIDE,
    "roberta": WIDE,
}
WITHOUT_PEFT = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft")


def config_of(name: str, **changes: Any) -> str:
    return json.dumps({"model_type": name, **CONFIGS[name], **changes})


def network(
    name: str = "llama", num_states: int = 11, changes: dict[str, Any] | None = None, **settings: Any
) -> Backbone:
    torch.manual_seed(0)
    return plugin("model_hf")(num_states=num_states, config=config_of(name, **(changes or {})), **settings).eval()


def features(model: Backbone, x: Tensor, sigma: float = 1.0) -> Tensor:
    level = NoiseLevel.of_sigma(torch.full((len(x),), sigma)).to(torch.float32)
    with torch.no_grad():
        return model(x, level)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_later_token_changes_an_earlier_output_in_every_architecture(name: str) -> None:
    model, x = network(name), torch.tensor([[1, 2, 3, 4, 5]])
    assert not any(getattr(module, "is_causal", False) for module in model.trunk.modules()), "flash-attn reads it"
    changed = torch.tensor([[1, 2, 3, 4, 9]])
    for attention in ("sdpa", "eager"):
        model.trunk.set_attn_implementation(attention)
        difference = (features(model, x) - features(model, changed)).abs().amax(-1)[0]
        assert (difference > 1e-5).all(), f"{attention}: {difference}"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama", {}),
        ("gpt2", {"reads": "sigma", "shift": True, "activation_checkpointing": True}),
        ("bert", {"reads": "time"}),
        pytest.param("llama", {"lora_rank": 2}, marks=WITHOUT_PEFT),
        pytest.param("gpt2", {"lora_rank": 2, "shift": True}, marks=WITHOUT_PEFT),
    ],
)
def test_the_contract_holds(name: str, settings: dict[str, Any]) -> None:
    check_model(partial(plugin("model_hf"), config=config_of(name), **settings))


def test_shift_takes_the_features_of_the_position_before() -> None:
    x = torch.tensor([[1, 2, 3, 4, 5]])
    plain, shifted = network(), network(shift=True)
    torch.testing.assert_close(features(shifted, x)[:, 1:], features(plain, x)[:, :-1])
    torch.testing.assert_close(features(shifted, x)[:, 0], features(plain, x)[:, 0])


def test_a_tied_head_shares_the_embeddings_and_is_saved_once() -> None:
    model = network("gpt2")
    embeddings = model.trunk.get_input_embeddings().weight
    assert model.head.weight is embeddings
    assert [name for name in model.state_dict() if "wte" in name or "head" in name] == ["trunk.wte.weight"]
    model.head(torch.ones(1, 32)).sum().backward()
    assert embeddings.grad is not None


def test_checkpointing_changes_no_gradient() -> None:
    x, level = torch.tensor([[1, 2, 3, 4, 5]]), NoiseLevel.of_sigma(torch.ones(1)).to(torch.float32)
    gradients = []
    for checkpointing in (False, True):
        model = network(activation_checkpointing=checkpointing).train()
        recomputed = sum(getattr(m, "gradient_checkpointing", False) for m in model.modules())
        assert bool(recomputed) is checkpointing
        model.logits(model(x, level)).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_weights_without_a_level_embedding_load_and_change_no_output() -> None:
    plain, read = network(), network(reads="sigma")
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.1)
    read.load_state_dict(plain.state_dict())
    x = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(features(read, x, 3.0), features(plain, x))
    state = read.state_dict()
    del state["level.out.bias"]
    with pytest.raises(RuntimeError, match=r"level\.out\.bias"):
        read.load_state_dict(state)


@WITHOUT_PEFT
def test_adapters_alone_are_trained_and_load_weights_without_them() -> None:
    plain, adapted = network("gpt2"), network("gpt2", lora_rank=2)
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.1)
    adapted.load_state_dict(plain.state_dict())
    x = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(features(adapted, x), features(plain, x))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("llama", "JSON object"),
        ('["llama"]', "model_type"),
        ('{"model_type": "no_such"}', "no_such"),
        ('{"model_type": "t5"}', "encoder with a decoder"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "hidden_size"),
    ],
)
def test_invalid_configs_are_refused(config: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plugin("model_hf")(num_states=5, config=config)


def test_an_architecture_that_stays_causal_is_refused() -> None:
    config = '{"model_type": "openai-gpt", "n_embd": 16, "n_layer": 1, "n_head": 2}'
    with pytest.raises(ValueError, match="stays causal"):
        plugin("model_hf")(num_states=5, config=config, attention="eager")


def test_long_sequences_and_conditions_are_refused() -> None:
    model = network()
    with pytest.raises(UserError, match="max_position_embeddings=16"):
        features(model, torch.zeros(1, 17, dtype=torch.int64))


def test_no_code_of_a_folder_is_named() -> None:
    remote = {"auto_map": {"AutoModel": "modeling_evil.Model"}}
    assert type(network(changes=remote).trunk).__module__.startswith("transformers.")
