"""LLaDA beside the figures of its authors' code, and tiny instances in its layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from sedd_core import UserError, plugin
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.maths import Draws
from sedd_core.stages import FixedTokens, NoiseLevel
from sedd_core.testing import check_format
from sedd_core.text import character_codec
from tests.support.families import Exact, arrays, level_at, stand_in_hub
from tests.support.runs import ROOT, run
from tests.support.shards import write_shards

GOLDEN = Path(__file__).parent / "golden"
"""A tiny network of the authors' code in three shards, its logits, likelihoods and generated texts."""
SIZES = {"d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "mlp_hidden_size": 24, "rope_theta": 5e5}
CONFIG = {
    **SIZES,
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "rms_norm_eps": 1e-5,
    "max_sequence_length": 32,
    "embedding_size": 12,
    "vocab_size": 12,
    "mask_token_id": 9,
    "block_type": "llama",
    "layer_norm_type": "rms",
    "rope": True,
    "weight_tying": False,
}
NAMES = {
    "model.embed_tokens": "model.transformer.wte",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "input_layernorm": "attn_norm",
    "self_attn.o_proj": "attn_out",
    "self_attn.": "",
    "post_attention_layernorm": "ff_norm",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
    "model.layers": "model.transformer.blocks",
}


def llama() -> LlamaForCausalLM:
    """The network behind a tiny instance, without a causal mask."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        max_position_embeddings=32, initializer_range=0.3,
    )  # fmt: skip
    config.is_causal = False
    model = LlamaForCausalLM(config).eval()
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    return model


def folder_of(path: Path, shards: int = 3, **changes: Any) -> Path:
    """A folder in LLaDA's layout."""
    state = dict[str, Tensor]()
    for name, value in llama().state_dict().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        state[name] = value.contiguous()
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    write_shards(path, state, shards)
    return path


def test_a_tiny_instance_has_the_logits_of_its_network(tmp_path: Path) -> None:
    loaded, x = load_checkpoint(folder_of(tmp_path / "llada")), torch.randint(12, (2, 7))
    level = NoiseLevel.of_sigma(torch.ones(2)).to(torch.float32)
    with torch.no_grad():
        expected = llama()(x).logits
        found = loaded.model.backbone.logits(loaded.model.backbone(x.where(x != 9, 12), level))
    torch.testing.assert_close(found[..., :12], expected)
    assert loaded.graph.mask == 12
    assert loaded.record.run.args["length"] == 32


def test_the_layout_is_recognized_and_damage_refused(tmp_path: Path) -> None:
    unnamed = folder_of(tmp_path / "unnamed")
    config = {key: value for key, value in CONFIG.items() if key not in ("model_type", "architectures")}
    (unnamed / "config.json").write_text(json.dumps(config))
    other = tmp_path / "other"
    shutil.copytree(unnamed, other)
    (other / "config.json").write_text(json.dumps({"model_type": "llama"}))
    form = plugin("format_llada")()
    assert form.matches(unnamed)
    check_format(form, [folder_of(tmp_path / "llada")], [other])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alibi": True}, "alibi=True"),
        ({"d_model": None}, "lacks d_model"),
        ({"mask_token_id": 12}, "disagree"),
        ({"mlp_hidden_size": 20}, "do not fit"),
    ],
)
def test_what_it_does_not_express_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_checkpoint(folder_of(tmp_path / "llada", **changes))


class _Double:
    """torch, with float64 in place of float32: the norms and the rotary table of transformers compute in the latter."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name in ("float32", "float") else getattr(torch, name)


def exact(monkeypatch: pytest.MonkeyPatch) -> Exact:
    """The golden network in double, its constants too."""
    monkeypatch.setattr(modeling_llama, "torch", _Double())
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    model = Exact(GOLDEN)
    rotary = model.backbone.trunk.rotary_emb
    rotary.inv_freq = 5e5 ** -(torch.arange(0, 16, 2).double() / 16)
    return model


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_golden_logits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = arrays(GOLDEN / "golden.npz")
    model = exact(monkeypatch) if kind == "f64" else Exact(GOLDEN, torch.float32)
    tolerance = {"f32": 1e-4, "f64": 1e-9}[kind]
    for xt, expected in zip(golden["xt"], golden[f"logits_{kind}"], strict=True):
        x = xt.where(xt != golden["mask_id"], 44)
        logits = model.logits(x, level_at(torch.ones(3), torch.ones(3)))[..., :44]
        torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "block"), [("low_confidence", 0), ("low_confidence_blocks_of_4", 4)])
def test_golden_generation(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = arrays(GOLDEN / "golden.npz")
    model, states, result = exact(monkeypatch), golden[f"gen_{name}_states"], golden[f"gen_{name}_result"]
    known = FixedTokens(result, (torch.arange(13) < golden["prompt_length"]).expand(2, 13))
    levels, seen = model.noise(torch.linspace(1, 1e-5, 5, dtype=torch.float64)), list[Tensor]()
    draws = Draws(0, torch.arange(2))
    sampler = plugin("sampler_confidence")(block_length=block)
    sampler.run(model.graph.prior(draws, 13), levels, model, model.graph, draws, known, seen.append)
    for step, expected in enumerate([*states, result]):
        assert torch.equal(seen[step], expected.where(expected != golden["mask_id"], 44)), f"step {step}"


FILES = (
    *(".gitattributes", "README.md", "config.json", "configuration_llada.py", "modeling_llada.py"),
    *(f"model-0000{shard}-of-00006.safetensors" for shard in range(1, 7)),
    *("generation_config.json", "model.safetensors.index.json", "special_tokens_map.json", "tokenizer.json"),
    "tokenizer_config.json",
)
"""Files of GSAI-ML/LLaDA-8B-Base."""


def test_a_hub_id_is_sampled_from_with_its_sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "llada", shards=6)
    character_codec("abcdefghijkl", unknown=False).tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    stand_in_hub(monkeypatch, tmp_path, "GSAI-ML/LLaDA-8B-Base", FILES, folder)
    run(
        f"--fdl_config={ROOT / 'experiments' / 'sample.py'}",
        *("checkpoint=GSAI-ML/LLaDA-8B-Base", "sampler=confidence(block_length=4)", "prompt=ab", "length=10"),
        *("steps=4", "count=2", "--run_folder=run"),
    )
    texts = [file.read_text() for file in sorted(Path("run").rglob("sample_*.txt"))]
    assert len(texts) == 2
    assert all(text.startswith("ab") for text in texts)
