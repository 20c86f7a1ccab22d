"""The diffusion transformer; parity with the original is tested in tests/model/test_parity_network.py."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.stages import Backbone, NoiseLevel
from sedd_core.testing import check_model

SIZES = {"hidden_size": 32, "n_blocks": 2, "n_heads": 4, "cond_dim": 16}
READS = ["sigma", "time", "nothing"]


def network(**arguments: Any) -> Backbone:
    return plugin("model_ddit")(**{"num_states": 11, **SIZES, "dropout": 0.0, **arguments})


def randomized(**arguments: Any) -> Backbone:
    model = network(**arguments)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def level_of(x: Tensor, sigma: float) -> NoiseLevel:
    return NoiseLevel.of_sigma(torch.full((len(x),), sigma)).to(torch.float32)


def logits(model: Backbone, x: Tensor) -> Tensor:
    return model.logits(model(x, level_of(x, 0.5)))


def test_logits_start_at_zero_and_all_gates_are_closed() -> None:
    model, x = network(), torch.arange(10).view(2, 5)
    assert not logits(model, x).any()
    torch.testing.assert_close(model(x, level_of(x, 1.0)), model.output_layer.norm_final(model.vocab_embed(x)))


def test_dropout_is_active_in_training_only() -> None:
    model, x = randomized(dropout=0.5), torch.arange(10).view(2, 5)
    assert not torch.equal(logits(model, x), logits(model, x))
    model.eval()
    assert torch.equal(logits(model, x), logits(model, x))


def test_attention_is_bidirectional_and_depends_on_positions() -> None:
    model, x = randomized(), torch.tensor([[1, 2, 3, 4, 5, 6]])
    before = logits(model, x)
    for position in (0, 5):
        changed = x.clone()
        changed[0, position] = 9
        assert not torch.allclose(logits(model, changed)[0, 2], before[0, 2], atol=1e-3)
    swapped = x[:, [1, 0, 2, 3, 4, 5]]  # the same tokens at other positions
    assert not torch.allclose(logits(model, swapped)[0, 2], before[0, 2], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_heads": 5}, "must divide"),
        ({"n_heads": 32}, "even size"),
        ({"dropout": 1.0}, "dropout must lie"),
    ],
)
def test_invalid_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_a_condition_is_refused() -> None:
    x = torch.zeros(1, 2, dtype=torch.int64)
    with pytest.raises(UserError, match="no condition"):
        network()(x, level_of(x, 1.0), torch.ones(1))


@pytest.mark.parametrize("reads", READS)
def test_conformance(reads: str) -> None:
    check_model(partial(plugin("model_ddit"), **SIZES, reads=reads))


@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("reads", READS)
def test_the_network_reads_what_it_is_set_to_and_nothing_else(reads: str, per_position: bool) -> None:
    model, x = randomized(reads=reads), torch.arange(10).view(2, 5)
    shape = x.shape if per_position else x.shape[:1]
    level = NoiseLevel(*(torch.full(shape, value) for value in (0.3, 0.7, 1.1)))
    changed = {
        "sigma": level._replace(sigma=level.sigma + 1),
        "time": level._replace(t=level.t + 0.5),
        "rate": level._replace(rate=level.rate + 1),
    }
    read = {name for name, other in changed.items() if not torch.equal(model(x, other), model(x, level))}
    assert read == {reads} - {"nothing"}


def test_without_a_level_the_network_is_that_of_zero_noise() -> None:
    """As in MDLM, whose checkpoints contain the embedding of the noise level and are used at zero."""
    x = torch.arange(10).view(2, 5)
    torch.testing.assert_close(logits(randomized(reads="nothing"), x), zero_noise(x), rtol=0, atol=0)
    assert dict(network(reads="nothing").named_parameters()).keys() == dict(network().named_parameters()).keys()


def zero_noise(x: Tensor) -> Tensor:
    model = randomized(reads="sigma")
    return model.logits(model(x, level_of(x, 0.0)))


def adaptive(weights: dict[str, Tensor], cond_dim: int) -> dict[str, Tensor]:
    """RADD's weights in this network: the biases of its norms are shifts, its gates are 1, nothing is embedded."""
    out = {name: value for name, value in weights.items() if not name.endswith(("norm1.bias", "norm2.bias"))}
    out["output_layer.adaLN_modulation.bias"] = torch.cat([(last := out.pop("output_layer.norm_final.bias")), 0 * last])
    for block in sorted({name.rpartition(".norm1")[0] for name in weights if name.endswith("norm1.bias")}):
        one, two = weights[f"{block}.norm1.bias"], weights[f"{block}.norm2.bias"]
        shifts = [one, 0 * one, torch.ones_like(one), two, 0 * two, torch.ones_like(two)]
        out[f"{block}.adaLN_modulation.bias"] = torch.cat(shifts)
    for name in [name for name in out if name.endswith("adaLN_modulation.bias")]:
        out[name.replace(".bias", ".weight")] = torch.zeros(len(out[name]), cond_dim)
    embedding = network(**GOLDEN_SIZES, num_states=31).sigma_map.state_dict()
    return out | {f"sigma_map.{name}": value for name, value in embedding.items()}


GOLDEN_SIZES = {"hidden_size": 64, "n_blocks": 2, "n_heads": 4, "cond_dim": 32}
FAMILIES = {
    "mdlm": ("mdlm/hub", "mdlm/mdlm", "xt", "logits", "nothing", 4e-5),
    "duo": ("duo/hub", "duo/duo_log-linear", "xt", "logits", "sigma", 1e-4),
    "gidd": ("gidd/hub_p_unif_0.2", "gidd/gidd_p_unif_0.2", "xt", "logits", "time", 9e-5),
    "radd": ("radd/hub", "radd/radd", "xt", "logits_t", "nothing", 2e-5),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_other_families_load_and_give_their_logits(family: str, shared: Path) -> None:
    """Under the setting that each family needs, within the tolerance of its golden data, and under no other."""
    folder, arrays, states, expected, needed, tolerance = FAMILIES[family]
    golden = np.load(shared / "golden_families" / f"{arrays}.npz")
    weights = load_file(shared / "golden_families" / folder / "model.safetensors")
    weights = {name.removeprefix("backbone."): value for name, value in weights.items() if "cached" not in name}
    weights = adaptive(weights, cond_dim=32) if family == "radd" else weights
    x, truth = torch.from_numpy(golden[states]), torch.from_numpy(golden[f"{expected}_f64"])
    sigma = torch.from_numpy(golden["sigma_f32"] if "sigma_f32" in golden else -np.log(golden["alpha_f32"]))
    t = torch.from_numpy(golden["t"]).float()

    for reads in READS:
        model = network(**GOLDEN_SIZES, num_states=truth.shape[-1], reads=reads)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert not unexpected
        assert set(missing) <= {"rotary_emb.inv_freq"}
        level = NoiseLevel(*(value.float()[:, None].expand(x.shape[:2]).flatten() for value in (t, sigma, sigma)))
        with torch.no_grad():
            found = model.logits(model(x.flatten(0, 1), level)).view(truth.shape)
        error = ((found - truth).abs() / truth.abs().clamp(min=1)).max().item()
        if family == "radd":  # what is embedded is multiplied by zero
            assert error < tolerance
        else:
            assert (error < tolerance) == (reads == needed), (reads, error)
