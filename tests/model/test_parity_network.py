"""The network, the loss, its gradients and 20 training steps against the original implementation's figures."""

from __future__ import annotations

import json

import pytest
import torch
from objective_score_entropy import ScoreEntropy
from safetensors.torch import load_file
from torch import Tensor, nn

from sedd_core import load_model, plugin
from sedd_core.data.sequences import PackedSequences
from sedd_core.model.score import ScoreModel
from sedd_core.stages import Batch, NoiseLevel
from sedd_core.training.batches import TIME_BINS
from sedd_core.training.settings import Optimizer, Training
from sedd_core.training.trainer import Trainer
from tests.support.golden_figures import GOLDEN, arrays, close

MODELS = ["absorb_scaled", "absorb_unscaled", "uniform"]


@pytest.mark.parametrize("name", MODELS)
def test_golden_checkpoints_load_and_give_the_golden_log_scores(name: str) -> None:
    model, _, _ = load_model(GOLDEN / "models" / name)
    golden = arrays(f"forward_{name}")
    check_forward(model, golden)


def check_forward(model: ScoreModel, golden: dict[str, Tensor]) -> None:
    level = NoiseLevel.of_sigma(golden["sigma"])
    with torch.no_grad():
        close(model(golden["indices"], level), golden["log_score_f64"], rtol=0, atol=2e-5)
        half = model(golden["indices"][:, :16], level)
        close(half, golden["log_score_half_length_f64"], rtol=0, atol=2e-5)


def _no_rotary(model: ScoreModel) -> None:
    model.backbone.rotary_emb.inv_freq.zero_()


def _exact_gelu(model: ScoreModel) -> None:
    for block in model.backbone.blocks:
        block.mlp[1] = nn.GELU()


def _no_scaling(model: ScoreModel) -> None:
    model.head.scale_by_sigma = False


def _swapped_modulation(model: ScoreModel) -> None:
    modulation = model.backbone.output_layer.adaLN_modulation
    modulation.weight.data = modulation.weight.data.roll(64, 0)


@pytest.mark.parametrize("fault", [_no_rotary, _exact_gelu, _no_scaling, _swapped_modulation])
def test_the_forward_check_sees_planted_faults(fault) -> None:
    model, _, _ = load_model(GOLDEN / "models" / "absorb_scaled")
    fault(model)
    with pytest.raises(AssertionError):
        check_forward(model, arrays("forward_absorb_scaled"))


def test_the_noise_level_may_be_given_for_each_position() -> None:
    model, _, _ = load_model(GOLDEN / "models" / "uniform")
    golden = arrays("forward_uniform")
    x, level = golden["indices"], NoiseLevel.of_sigma(golden["sigma"])
    with torch.no_grad():
        # Products of other shapes round otherwise, by the processor: up to 1.6e-6 has been seen.
        close(model(x, level.at(x)), model(x, level), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients(name: str) -> None:
    model, _, noise = load_model(GOLDEN / "models" / name)
    golden, norms = arrays(f"loss_{name}"), json.loads((GOLDEN / f"loss_{name}.json").read_text())
    check_loss(model, noise(golden["t"]), golden, norms)


def check_loss(model: ScoreModel, level: NoiseLevel, golden: dict[str, Tensor], norms: dict) -> None:
    close(level.sigma, golden["sigma_f64"], rtol=2e-6)
    close(level.rate, golden["dsigma_f64"], rtol=2e-6)
    each = ScoreEntropy().integrand(model, golden["perturbed_batch"], level, Batch(golden["batch"]))
    loss = each.mean()
    close(each, golden["loss_f64"], rtol=1e-5, atol=1e-8)
    close(loss, torch.tensor(norms["loss_mean_f64"]), rtol=1e-5)

    model.zero_grad()
    loss.backward()
    for name, parameter in model.backbone.named_parameters():
        norm = norms["grad_l2_f64"][name]
        assert abs(parameter.grad.double().norm().item() - norm) <= 2e-5 * (norm + 1e-3), name
        if f"grad__{name}" in golden:  # float32 of the original: its own tolerances, which are relative to the largest
            truth = golden[f"grad__{name}"]
            close(parameter.grad, truth, rtol=4e-4, atol=1e-4 * truth.abs().max().item())


def test_the_loss_check_sees_planted_faults() -> None:
    golden, norms = arrays("loss_uniform"), json.loads((GOLDEN / "loss_uniform.json").read_text())
    model, graph, noise = load_model(GOLDEN / "models" / "uniform")
    level = noise(golden["t"])
    with pytest.raises(AssertionError):
        check_loss(model, level._replace(rate=level.rate * 1.0001), golden, norms)
    graph.pi *= 1.0001
    with pytest.raises(AssertionError):
        check_loss(model, level, golden, norms)


def test_every_parameter_gets_a_gradient_where_nothing_counts() -> None:
    model, _, noise = load_model(GOLDEN / "models" / "absorb_scaled")
    x0 = torch.zeros(2, 8, dtype=torch.int64)
    level = noise(torch.tensor([0.5, 0.5]))
    loss = ScoreEntropy().integrand(model, x0, level, Batch(x0)).mean()  # nothing is masked
    loss.backward()
    assert loss.item() == 0
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_positions_that_do_not_count_are_left_out() -> None:
    model, _, noise = load_model(GOLDEN / "models" / "absorb_scaled")
    golden = arrays("loss_absorb_scaled")
    level = noise(golden["t"])
    x, x0 = golden["perturbed_batch"], golden["batch"]
    counts = torch.zeros_like(x, dtype=torch.bool)
    counts[:, ::2] = True
    part, other = (ScoreEntropy().integrand(model, x, level, Batch(x0, c)) for c in (counts, ~counts))
    close(part + other, golden["loss_f64"], rtol=1e-5, atol=1e-8)
    assert (part < golden["loss_f64"]).any()


class Replay(Trainer):
    """A trainer on recorded batches instead of drawn ones."""

    def replay(self, golden: dict[str, Tensor], step: int) -> tuple[float, float]:
        level = self.noise(golden["t"][step])
        x, x0 = golden["perturbed_batch"][step].long(), golden["batch"][step].long()
        losses = ScoreEntropy().integrand(self.model, x, level, Batch(x0))
        self.optimizer.zero_grad()
        losses.mean().backward()
        stats = torch.zeros(2, TIME_BINS, dtype=torch.float64)
        stats[0, 0] = losses.detach().sum()
        result = self.update(stats)
        return result.loss, result.grad_norm


def replayed(**changes: float) -> tuple[Replay, dict[str, Tensor], list[float], list[float]]:
    golden = arrays("trajectory")
    model, _, noise = load_model(GOLDEN / "models" / "absorb_scaled")
    ema_decay = changes.pop("ema_decay", 0.9999)
    optimizer = Optimizer(**{"lr": 3e-4, "warmup": 10, "clip": 1.0, **changes})
    training = Training(steps=20, batch_size=8, ema_decay=ema_decay)
    data = PackedSequences(golden["batch"].flatten(), 32)
    trainer = Replay(model, noise, ScoreEntropy(), data, optimizer, training, seed=0)
    losses, norms = zip(*(trainer.replay(golden, step) for step in range(20)), strict=True)
    return trainer, golden, list(losses), list(norms)


def check_weights(trainer: Replay) -> None:
    final, average = (
        load_file(GOLDEN / "trajectory_final.safetensors"),
        load_file(GOLDEN / "trajectory_ema.safetensors"),
    )
    backbone = trainer.model.backbone
    for name, parameter in backbone.named_parameters():
        close(parameter, final[name], rtol=0, atol=5e-6)
    with trainer.ema.in_place():
        for name, parameter in backbone.named_parameters():
            close(parameter, average[name], rtol=0, atol=5e-6)


def test_twenty_training_steps_with_warm_up_clipping_and_average() -> None:
    trainer, golden, losses, norms = replayed()
    close(torch.tensor(losses), golden["loss_f64"], rtol=1e-5)
    close(torch.tensor(norms), golden["grad_norm_f64"], rtol=2e-5)
    check_weights(trainer)
    step = golden["batch"][19].long(), golden["perturbed_batch"][19].long(), trainer.noise(golden["t"][19])
    with trainer.ema.in_place(), torch.no_grad():
        losses = ScoreEntropy().integrand(trainer.model, step[1], step[2], Batch(step[0]))
    close(losses.mean(), golden["ema_eval_loss_f64"], rtol=1e-5)


@pytest.mark.parametrize(
    "change", [{"warmup": 11}, {"clip": 2.0}, {"beta2": 0.95}, {"weight_decay": 0.01}, {"ema_decay": 0.5}], ids=str
)
def test_the_trajectory_check_sees_planted_faults(change: dict[str, float]) -> None:
    trainer, _, _, _ = replayed(**change)
    with pytest.raises(AssertionError):
        check_weights(trainer)


@pytest.mark.parametrize(("size", "shape"), [("small", (768, 12, 12)), ("medium", (1024, 24, 16))])
def test_published_shapes(size: str, shape: tuple[int, int, int]) -> None:
    published = json.loads((GOLDEN / "published_state_dicts.json").read_text())[size]
    width, blocks, heads = shape
    with torch.device("meta"):
        model = plugin("model_ddit")(num_states=50258, hidden_size=width, n_blocks=blocks, n_heads=heads)
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == published["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == published["n_params"]
    assert published["n_params"] == {"small": 169_627_218, "medium": 424_477_010}[size]
    assert len(model.state_dict()) == {"small": 131, "medium": 251}[size]
