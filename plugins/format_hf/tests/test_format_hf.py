"""Tiny instances of Dream, DiffuGPT, DiffuLLaMA and causal models, in the layouts of the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedModel, Qwen2Config

from sedd_core import UserError, plugin
from sedd_core.checkpoints.load import Loaded, load_checkpoint
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_format
from sedd_core.text import character_codec
from tests.support.shards import write_shards

WIDE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "vocab_size": 12,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}
GPT2: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 12}


def network(kind: str) -> PreTrainedModel:
    """A causal model of a kind, to be run without its mask."""
    configs = {
        "dream": lambda: Qwen2Config(**WIDE, rope_theta=1e6, tie_word_embeddings=False),
        "diffullama": lambda: LlamaConfig(**WIDE, rope_theta=1e4),
        "diffugpt": lambda: GPT2Config(**GPT2, initializer_range=0.3),
    }
    torch.manual_seed(0)
    config = configs[kind]()
    config.is_causal = False
    model = AutoModelForCausalLM.from_config(config).eval()
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    return model


def folder_of(path: Path, kind: str, mask: int | None = 11, shards: int = 3) -> Path:
    """A folder as on the hub, without remote code; DiffuGPT has the names of its authors' class."""
    state = {name: value.contiguous().clone() for name, value in network(kind).state_dict().items()}
    config: dict[str, Any] = {
        "model_type": kind,
        **WIDE,
        "rope_theta": 1e4,
        "torch_dtype": "bfloat16",
        "use_cache": False,
    }
    if kind == "dream":
        remote = {"AutoModel": "modeling_dream.DreamModel"}
        config |= {"model_type": "Dream", "rope_theta": 1e6, "rope_scaling": None, "auto_map": remote}
    if kind == "diffullama":
        config |= {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    if kind == "diffugpt":
        config = {"model_type": "gpt2", **GPT2, "task_specific_params": {"text-generation": {"max_length": 32}}}
        del state["lm_head.weight"]
        state = {name.replace("transformer.wte", "embed_tokens"): value for name, value in state.items()}
        state = {name.replace("transformer.", "denoise_model."): value for name, value in state.items()}
        state["denoise_model.h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config | ({} if mask is None else {"mask_token_id": mask})))
    if shards == 1:
        save_file(state, path / "model.safetensors", {"format": "pt"})
    else:
        write_shards(path, state, shards)
    return path


def logits(loaded: Loaded, x: Tensor) -> Tensor:
    level = NoiseLevel.of_sigma(torch.ones(len(x))).to(torch.float32)
    with torch.no_grad():
        return loaded.model.backbone.logits(loaded.model.backbone(x, level))


@pytest.mark.parametrize("kind", ["dream", "diffullama", "diffugpt"])
def test_instances_have_the_logits_of_their_networks_one_position_on(kind: str, tmp_path: Path) -> None:
    loaded, x = load_checkpoint(folder_of(tmp_path / kind, kind)), torch.randint(12, (2, 7))
    with torch.no_grad():
        expected = network(kind)(x).logits
    torch.testing.assert_close(logits(loaded, x)[:, 1:], expected[:, :-1])
    torch.testing.assert_close(logits(loaded, x)[:, 0], expected[:, 0])
    assert loaded.graph.mask == loaded.graph.vocab_size == 11


def test_a_mask_among_the_tokens_is_a_state_after_them_too(tmp_path: Path) -> None:
    loaded, x = load_checkpoint(folder_of(tmp_path / "dream", "dream", mask=5)), torch.randint(12, (2, 7))
    assert loaded.graph.mask == loaded.graph.vocab_size == 12
    torch.testing.assert_close(logits(loaded, x.where(x != 5, 12)), logits(loaded, x))


def test_a_causal_model_gets_a_mask_of_the_mean_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "causal", "diffullama", mask=None, shards=1)
    loaded = load_checkpoint(folder)
    embeddings = loaded.model.backbone.state_dict()["trunk.embed_tokens.weight"]
    torch.testing.assert_close(embeddings[12], embeddings[:12].mean(0))
    assert "no mask token is stated" in capsys.readouterr().out


def test_padding_beyond_the_tokenizer_is_dropped_and_its_mask_token_found(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "padded", "diffugpt", mask=None)
    codec = character_codec("abcdefgh", unknown=False)
    codec.tokenizer.add_special_tokens(["[MASK]"])
    codec.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"mask_token": "[MASK]"}')
    loaded = load_checkpoint(folder)
    assert loaded.graph.vocab_size == 8
    assert loaded.codec is not None
    assert loaded.codec.decode(loaded.codec.encode("cab")) == "cab"
    x = torch.tensor([[1, 8, 3]])
    with torch.no_grad():
        torch.testing.assert_close(logits(loaded, x)[:, 1:, :8], network("diffugpt")(x).logits[:, :-1, :8])
    character_codec("abcdefghijklmnop", unknown=False).tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match="12 tokens, a tokenizer of 16"):
        load_checkpoint(folder)


def test_the_layouts_are_recognized_and_damage_refused(tmp_path: Path) -> None:
    unnamed = folder_of(tmp_path / "unnamed", "diffugpt")
    config = json.loads((unnamed / "config.json").read_text())
    del config["model_type"]
    (unnamed / "config.json").write_text(json.dumps(config))
    assert load_checkpoint(unnamed)
    other = tmp_path / "other"
    shutil.copytree(unnamed, other)
    (other / "config.json").write_text('{"model_type": "mdlm"}')
    check_format(plugin("format_hf")(), [folder_of(tmp_path / "dream", "dream", shards=2)], [other])
