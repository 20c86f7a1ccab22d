"""Checkpoints of other origin: the published layout, the hub, run folders of the original; and invalid files."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from format_sedd.published import record_of_config
from huggingface_hub import constants
from safetensors.torch import load_file
from torch import Tensor

from sedd_core import UserError, load_model, plugin
from sedd_core.checkpoints.length import trained_length
from sedd_core.checkpoints.load import load_checkpoint, load_weights_into
from sedd_core.cli.main import main
from sedd_core.stages import NoiseLevel
from sedd_core.testing import check_format
from sedd_core.text.builtin import character_codec
from sedd_core.text.tokenizer import read_tokenizer
from tests.support.golden_figures import GOLDEN, arrays, close

MODELS = GOLDEN / "models"
ROOT = Path(__file__).parents[3]
FIFTY = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
"""49 characters: with the unknown token, their codec has the golden models' vocabulary size, 50."""


def golden_scores(model: Callable[..., Tensor], name: str = "absorb_scaled") -> None:
    golden = arrays(f"forward_{name}")
    with torch.no_grad():
        level = NoiseLevel.of_sigma(golden["sigma"])
        close(model(golden["indices"], level), golden["log_score_f64"], rtol=0, atol=2e-5)


def checkpoint_of(weights: dict[str, Tensor], averages: list[Tensor], prefix: str = "") -> dict[str, Any]:
    """Content of an original checkpoint; its learning rate is a NumPy scalar."""
    rate = 3e-4 * np.minimum(3 / 2500, 1.0)
    return {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": rate, "params": [0]}]},
        "model": OrderedDict((prefix + name, value) for name, value in weights.items()),
        "ema": {"decay": 0.9999, "num_updates": 3, "shadow_params": averages},
        "step": 3,
    }


def write_run(folder: Path, state: Any, name: str = "absorb_scaled", **changes: Any) -> Path:
    """Write a run folder of the original with a golden model's config."""
    config = json.loads((MODELS / name / "config.json").read_text()) | changes
    for part in (".hydra", "checkpoints-meta"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    torch.save(state, folder / "checkpoints-meta" / "checkpoint.pth")
    return folder


def split(name: str = "absorb_scaled") -> tuple[dict[str, Tensor], list[Tensor]]:
    """Weights of a golden model in the order of the original's modules, and the parameters among them."""
    stored = load_file(MODELS / name / "model.safetensors")
    sizes = (
        record_of_config(json.loads((MODELS / name / "config.json").read_text()), Path("config.json"))
        .node("model")
        .args
    )
    order = plugin("model_ddit")(**sizes).state_dict()
    weights = {key: stored[key] for key in order}
    return weights, [value for key, value in weights.items() if key != "rotary_emb.inv_freq"]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """An original run whose averages are a golden model, and whose last weights differ."""
    weights, averages = split()
    last = {name: value if name == "rotary_emb.inv_freq" else value + 1 for name, value in weights.items()}
    return write_run(tmp_path / "run", checkpoint_of(last, averages))


def test_an_original_run_loads_with_its_averages(original: Path) -> None:
    loaded = load_checkpoint(original)
    golden_scores(loaded.model)
    assert loaded.codec is None
    assert trained_length(loaded.record) == 32
    last = load_checkpoint(original, ema=False).model.backbone.state_dict()
    assert torch.equal(last["vocab_embed.embedding"], split()[0]["vocab_embed.embedding"] + 1)


def test_an_original_run_of_the_uniform_process(tmp_path: Path) -> None:
    weights, averages = split("uniform")
    model, graph, noise = load_model(write_run(tmp_path, checkpoint_of(weights, averages), "uniform"))
    golden_scores(model, "uniform")
    assert (graph.mask, graph.vocab_size, noise.sigma_min, noise.sigma_max) == (None, 50, 1e-4, 20.0)


def test_sigma_as_the_originals_own_yaml_writes_it(tmp_path: Path) -> None:
    weights, averages = split("uniform")
    folder = write_run(tmp_path, checkpoint_of(weights, averages), "uniform")
    config = folder / ".hydra" / "config.yaml"
    text = config.read_text()
    assert "sigma_min: 0.0001" in text
    config.write_text(text.replace("sigma_min: 0.0001", "sigma_min: 1e-4"))  # a str in YAML 1.1
    assert load_model(folder)[2].sigma_min == 1e-4


def test_names_with_a_prefix_and_the_noises_unused_parameter(tmp_path: Path) -> None:
    weights, averages = split()
    state = checkpoint_of(weights, [*averages, torch.tensor(0.0)], prefix="module.")
    golden_scores(load_model(write_run(tmp_path, state))[0])


def test_a_learning_rate_of_numpy_1(original: Path) -> None:
    """The original runs with NumPy 1, where the module of the scalar class has another name."""
    file = original / "checkpoints-meta" / "checkpoint.pth"
    with zipfile.ZipFile(file) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    (program,) = (name for name in entries if name.endswith("data.pkl"))
    assert b"numpy._core.multiarray" in entries[program]
    entries[program] = entries[program].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for name, content in entries.items():
            new.writestr(name, content)
    golden_scores(load_model(original)[0])


def test_training_can_start_from_an_original_run(original: Path) -> None:
    model, _, noise = load_model(MODELS / "absorb_unscaled")
    load_weights_into(original, model, noise, character_codec(FIFTY))
    assert torch.equal(model.backbone.vocab_embed.embedding, split()[0]["vocab_embed.embedding"])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda averages: averages[:-1], "29 tensors for 30 parameters"),
        (lambda averages: [*averages, torch.ones(2)], "31 tensors for 30 parameters"),
        (lambda averages: [*averages[1:], averages[0]], "do not fit"),
        (lambda averages: [*averages[:-1], 3], "not dense CPU tensors"),
        (lambda averages: None, "not a checkpoint of the original"),
        (lambda averages: torch.zeros(1).expand(2**50), "not a checkpoint of the original"),
    ],
)
def test_averages_that_do_not_fit(tmp_path: Path, fault: Callable[[list[Tensor]], Any], words: str) -> None:
    weights, averages = split()
    with pytest.raises(UserError, match=words):
        load_model(write_run(tmp_path, checkpoint_of(weights, fault(averages))))


class Malicious:
    """Creates a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    sign = tmp_path / "ran"
    weights, averages = split()
    folder = write_run(tmp_path / "run", checkpoint_of(weights, averages) | {"extra": Malicious(sign)})
    with pytest.raises(UserError, match=r"contains more than data .*mkdir.* and was not executed"):
        load_model(folder)
    assert not sign.exists()
    torch.load(folder / "checkpoints-meta" / "checkpoint.pth", weights_only=False)
    assert sign.exists()  # the attack works without protection


def test_a_bare_pickle_is_not_run(original: Path, tmp_path: Path) -> None:
    sign = tmp_path / "ran"
    (original / "checkpoints-meta" / "checkpoint.pth").write_bytes(pickle.dumps(Malicious(sign)))
    with pytest.raises(UserError, match="no code in it was executed"):
        load_model(original)
    assert not sign.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_or_missing_checkpoint_of_an_original_run(original: Path, content: bytes | None) -> None:
    file = original / "checkpoints-meta" / "checkpoint.pth"
    whole = file.read_bytes()
    file.unlink()
    with pytest.raises(UserError, match=r"checkpoint\.pth is missing"):
        load_model(original)
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UserError, match="is damaged"):
        load_model(original)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("graph: !!python/object/apply:os.mkdir ['{sign}']", "cannot be read as data"),
        ("graph: [", "cannot be read as data"),
        ("lightning: true", "the key 'graph' is missing"),
        ("graph: !!timestamp x", "cannot be read as data"),
        ("graph: !!bool x", "cannot be read as data"),
        ("a: &a [1, 1]\nb: *a", "contains aliases"),
        ("a: &a {x: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}", "contains aliases"),
        ("graph: " + "[" * 3000 + "]" * 3000, "cannot be read as data"),
        ("graph: '" + "x" * 200_000 + "'", "has 200,009 characters"),
        ("- 1", "not a valid config of a SEDD model"),
        ("", "not a valid config of a SEDD model"),
    ],
)
def test_a_config_that_is_not_the_originals(original: Path, tmp_path: Path, text: str, words: str) -> None:
    sign = tmp_path / "ran"
    (original / ".hydra" / "config.yaml").write_text(text.replace("{sign}", str(sign)))
    with pytest.raises(UserError, match=words):
        load_model(original)
    assert not sign.exists()


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("graph", {"type": "data"}, "uses graph_data, which the original implementation does not support"),
        ("noise", {"type": "cosine"}, "noise_cosine, which the original implementation does not support"),
        ("model", {"type": "dimamba"}, "model_dimamba, which the original implementation does not support"),
        ("model", {"n_blocks": "two"}, "model.n_blocks takes int"),
        ("model", {"n_heads": 5}, "must divide"),
        ("model", {"n_blocks": 3}, "do not fit"),
        ("model", {"n_blocks": 2**63}, "model cannot be made: it would have more than"),
        ("model", {"hidden_size": 2**24}, "do not fit"),  # petabytes, never allocated
        ("model", {"length": "16"}, "training length is '16'"),
        ("model", {"length": -3}, "training length is -3"),
        ("model", {"length": 0}, "training length is 0"),
        ("model", {"length": 1e12}, "training length is 1000000000000.0"),
        ("model", {"length": 10**12}, "training length is 1000000000000"),
        ("model", {"length": float("nan")}, "training length is nan"),
        ("noise", {"type": "geometric", "sigma_min": "small"}, "not a valid config of a SEDD model"),
    ],
)
def test_an_unsupported_or_invalid_published_config(
    tmp_path: Path, part: str, change: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "absorb_scaled", folder)
    config = json.loads((folder / "config.json").read_text())
    config[part] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=words):
        trained_length(load_checkpoint(folder).record)


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    shutil.copy(MODELS / "uniform" / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"], "n_layer": 12}))
    with pytest.raises(UserError, match=r"not the config of a SEDD model.*\(present: architectures, n_layer\)"):
        load_model(tmp_path, format="sedd")


def with_pickle(folder: Path, content: object, name: str = "absorb_scaled") -> Path:
    """Write a published model as on the hub: config.json and pytorch_model.bin."""
    folder.mkdir()
    shutil.copy(MODELS / name / "config.json", folder)
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def test_a_pickle_with_code_in_place_of_the_weights_is_not_run(tmp_path: Path) -> None:
    folder, ran = with_pickle(tmp_path / "model", Malicious(tmp_path / "ran")), tmp_path / "ran"
    with pytest.raises(UserError, match=r"pytorch_model\.bin contains more than data .*mkdir.* and was not executed"):
        load_model(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(ran)))
    with pytest.raises(UserError, match="no code in it was executed"):
        load_model(folder)
    assert not ran.exists()
    shutil.copy(
        MODELS / "absorb_scaled" / "model.safetensors", folder
    )  # preferred over the pickle, which is not read then
    golden_scores(load_model(folder)[0])
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda weights: list(weights.values()), "contains a list, not a state dict"),
        (lambda weights: weights | {"more": 3}, "contains a int as 'more'"),
        (lambda weights: weights | {"more": torch.ones(2).to_sparse()}, "must be dense CPU tensors"),
        (lambda weights: weights | {"more": torch.ones(2, device="meta")}, "must be dense CPU tensors"),
        (lambda weights: weights | {"more": torch.ones(2)}, "do not fit"),
        (lambda weights: {"state_dict": weights}, "contains a OrderedDict as 'state_dict'"),
    ],
)
def test_a_pickle_that_is_not_the_weights(
    tmp_path: Path, content: Callable[[dict[str, Tensor]], object], words: str
) -> None:
    weights = OrderedDict(load_file(MODELS / "absorb_scaled" / "model.safetensors"))
    with pytest.raises(UserError, match=words):
        load_model(with_pickle(tmp_path / "model", content(weights)))


# The hub: without a network, the one function that is used of its client is replaced.


REPOSITORIES = {
    "louaaron/sedd-small": (".gitattributes", "README.md", "config.json", "pytorch_model.bin"),
    "gpt2": ("README.md", "config.json", "merges.txt", "model.safetensors", "tokenizer.json", "vocab.json"),
}
"""Files of the real repositories on the hub."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Cache of the hub's client, offline: a golden model in place of the published one, and a small gpt2 tokenizer."""
    state = OrderedDict(load_file(MODELS / "absorb_unscaled" / "model.safetensors"))
    state._metadata = OrderedDict({"": {"version": 1}})  # as a module's state dict has it
    for name, files in REPOSITORIES.items():
        snapshot = tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / ("0123456789" * 4)
        snapshot.mkdir(parents=True)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
        for file in files:
            (snapshot / file).write_text("{}")
        if "pytorch_model.bin" in files:
            shutil.copy(MODELS / "absorb_unscaled" / "config.json", snapshot)
            torch.save(state, snapshot / "pytorch_model.bin")
        else:
            character_codec(FIFTY).save(snapshot / "tokenizer.json")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_the_published_model_loads_from_its_hub_id(hub: Path) -> None:
    golden_scores(load_model("louaaron/sedd-small")[0], "absorb_unscaled")


def test_the_published_model_is_sampled_from_at_the_command_line(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = ["launch.py", f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "--checkpoint=louaaron/sedd-small"]
    assert main([*launch, "tokenizer=gpt2", "steps=4", "count=2", "--prefix=hat", "--run_folder=out"]) == 0
    texts = [path.read_text() for path in Path("out/samples").iterdir()]
    assert len(texts) == 2
    assert all(text.startswith("hat") and len(text) == 32 for text in texts)


@pytest.mark.parametrize("safe", [True, False])
def test_the_files_fetched_of_a_published_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, safe: bool) -> None:
    """The pickle is fetched only without safetensors: weights are not downloaded twice."""
    available = {"README.md", "config.json", "pytorch_model.bin", *(["model.safetensors"] if safe else [])}
    fetched: list[str] = []

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        assert name == "louaaron/sedd-small"
        new = [file for file in allow_patterns if file in available and file not in fetched]
        fetched.extend(new)
        for file in new:
            shutil.copy(source / file, tmp_path / file)
        return str(tmp_path)

    source = with_pickle(tmp_path / "source", load_file(MODELS / "absorb_scaled" / "model.safetensors"))
    shutil.copy(MODELS / "absorb_scaled" / "model.safetensors", source)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    golden_scores(load_model("louaaron/sedd-small")[0])
    assert fetched == ["config.json", "model.safetensors" if safe else "pytorch_model.bin"]


def test_without_a_network_the_message_says_what_to_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def snapshot_download(name: str, **arguments: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("Got: ConnectError\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        load_model("louaaron/sedd-small")
    for words in (
        "(Got: ConnectError)",
        "model.safetensors",
        "pytorch_model.bin",
        "https://huggingface.co/louaaron/sedd-small",
        "folder",
    ):
        assert words in str(raised.value)
    with pytest.raises(UserError, match=r"vocab\.json"):
        read_tokenizer("gpt2")


def test_conformance(original: Path, tmp_path: Path) -> None:
    hydra, model = tmp_path / "other_program", tmp_path / "other_model"
    (hydra / ".hydra").mkdir(parents=True)
    shutil.copy(original / ".hydra" / "config.yaml", hydra / ".hydra")
    model.mkdir()
    shutil.copy(MODELS / "uniform" / "model.safetensors", model)
    (model / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
    hub = with_pickle(tmp_path / "hub", load_file(MODELS / "absorb_scaled" / "model.safetensors"))
    character_codec(FIFTY).save(hub / "tokenizer.json")
    examples = [original, hub, *(MODELS / name for name in ("absorb_unscaled", "uniform"))]
    check_format(plugin("format_sedd")(), examples, [hydra, model, GOLDEN, hydra / ".hydra" / "config.yaml"])
