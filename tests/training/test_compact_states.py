"""Average and moments in bfloat16 or on the CPU: rounded without bias, resumed exactly, counted in the plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sedd_core.maths import rounding
from sedd_core.maths.rounding import Storage, round_at_random
from sedd_core.model.ema import EMA
from sedd_core.model.memory import COPIES, copies
from sedd_core.training import Optimizer, Training
from tests.support.runs import ROOT, losses, run, weights, write_text

BF16 = Storage("bf16")


def test_rounding_has_the_right_mean_and_only_the_two_nearest_values() -> None:
    value = torch.tensor([1.0 + 0.3 * 2**-7, -3.1415926, 1e-20, 0.0])
    rounded = torch.stack([round_at_random(value, "test", index) for index in range(4000)]).double()
    exact = value.double()
    for column, truth in zip(rounded.T, exact, strict=True):
        assert len(column.unique()) <= 2
        gap = column.max() - column.min()
        assert abs(column.mean() - truth) <= 4 * gap / math.sqrt(4 * len(column))  # of a coin at worst
    assert torch.equal(round_at_random(value, "a", 1), round_at_random(value, "a", 1))
    assert not torch.equal(round_at_random(torch.rand(99), "a", 1), round_at_random(torch.rand(99), "a", 2))


def averaged(storage: Storage) -> tuple[Tensor, Tensor]:
    """The average and the plain one after 3000 updates towards 1, at a decay whose steps are below bf16's spacing."""
    parameter = nn.Parameter(torch.zeros(400))
    one, plain = EMA([parameter], 0.9995, storage), EMA([parameter], 0.9995)
    one.updates = plain.updates = 100_000  # past the warm-up of the decay
    parameter.data.fill_(1.0)
    for _ in range(3000):
        one.update()
        plain.update()
    return one.average[0].float(), plain.average[0]


def test_an_average_in_bf16_follows_that_in_fp32() -> None:
    one, plain = averaged(BF16)
    assert plain[0].item() == pytest.approx(1 - 0.9995**3000, abs=1e-4)
    assert abs(one.mean() - plain.mean()) < 4 * one.std() / 20
    assert one.std() < 0.1


def test_rounding_to_the_nearest_would_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "round_at_random", lambda values, *address: values.bfloat16())
    one, plain = averaged(BF16)
    assert plain.mean() - one.mean() > 0.2


def test_an_average_on_the_cpu_is_the_same() -> None:
    one, plain = averaged(Storage(device="cpu"))
    torch.testing.assert_close(one, plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("storage", [BF16, Storage("bf16", "cpu"), Storage(device="cpu")])
def test_weights_are_back_after_their_average_was_in_place(storage: Storage) -> None:
    parameter = nn.Parameter(torch.randn(50))
    ema, own = EMA([parameter], 0.5, storage), parameter.detach().clone()
    parameter.data += 1
    ema.update()
    average = ema.average[0].clone()
    with ema.in_place():
        assert torch.equal(parameter.detach(), average.float())
        parameter.data.copy_(average.float() * 2)  # as loading does
    assert torch.equal(parameter.detach(), own + 1)
    assert torch.equal(ema.average[0], average * 2)


def trained(moments: dict[str, Any], seed: int) -> tuple[Tensor, Any]:
    """Weights after 200 updates of a noisy quadratic, and the optimizer."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(200, generator=torch.Generator().manual_seed(9))
    parameters = [nn.Parameter(torch.zeros(200)), nn.Parameter(torch.zeros(3))]  # the second never gets a gradient
    optimizer = Optimizer(lr=1e-2, warmup=0, **moments).make(parameters)
    for _ in range(200):
        parameters[0].grad = parameters[0].detach() - target + torch.randn(200, generator=generator)
        optimizer.step()
    return parameters[0].detach() - target, optimizer


def test_adamw_with_moments_on_the_cpu_is_adamw() -> None:
    assert torch.equal(trained({"moments_device": "cpu"}, 0)[0], trained({}, 0)[0])


def test_adamw_with_moments_in_bf16_ends_as_near() -> None:
    """The mean squared distances agree within 4 standard errors of the noise of training, over 6 seeds."""
    difference = torch.stack([
        trained({"moments_dtype": "bf16"}, seed)[0].square().mean() - trained({}, seed)[0].square().mean()
        for seed in range(6)
    ])  # fmt: skip
    assert difference.mean().abs() < 4 * difference.std() / math.sqrt(6) + 1e-3
    moments = trained({"moments_dtype": "bf16"}, 0)[1].state_dict()["state"][0]
    assert {name: value.dtype for name, value in moments.items()} == {
        "step": torch.float32, "exp_avg": torch.bfloat16, "exp_avg_sq": torch.bfloat16,
    }  # fmt: skip


def test_a_second_moment_in_bf16_is_right_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients grow from .1 to 1: the moment's steps are below bf16's spacing, where the nearest value stays."""

    def moment() -> float:
        parameter = nn.Parameter(torch.zeros(200))
        optimizer = Optimizer(warmup=0, moments_dtype="bf16").make([parameter])
        for size in [0.1] * 50 + [1.0] * 1000:
            parameter.grad = torch.full((200,), size)
            optimizer.step()
        return optimizer.state[parameter]["exp_avg_sq"].float().mean().item()

    exact = 0.999**1000 * 0.01 * (1 - 0.999**50) + (1 - 0.999**1000)
    assert moment() == pytest.approx(exact, rel=0.03)
    monkeypatch.setattr(rounding, "round_at_random", lambda values, *address: values.bfloat16())
    assert moment() < 0.5 * exact


def test_the_plan_counts_what_is_kept() -> None:
    assert copies(Storage(), Storage()) == COPIES
    assert copies(BF16, BF16) == 3.5
    assert copies(Storage(device="cpu"), Storage("bf16", "cpu")) == 2


QUICKSTART = f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}"
COMPACT = (
    "training.ema_dtype=bf16",
    "optimizer.moments_dtype=bf16",
    "training.ema_device=cpu",
    "optimizer.moments_device=cpu",
)


def test_a_run_is_resumed_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    settings = ("data.paths=text.txt", "data.tokenizer=char", "data.length=16", "model.n_blocks=1", "model.hidden_size=16",
                "model.n_heads=1", "training.batch_size=4", "evaluator.sequences=4", "evaluator.points=1", "samples.count=0",
                "checkpoints.every=5", "evaluator.references=false", "training.log_every=1", *COMPACT)  # fmt: skip
    run(QUICKSTART, *settings, "training.steps=10", "--run_folder=whole")
    run(QUICKSTART, *settings, "training.steps=5", "--run_folder=parts")
    run("--run_folder=parts", "--resume", "training.steps=10")
    assert torch.equal(losses("whole"), losses("parts"))
    for file in ("model", "ema"):
        one, other = weights("whole", file), weights("parts", file)
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_divided_states_are_refused() -> None:
    with pytest.raises(ValueError, match="parallel=fsdp divides the average"):
        Training(steps=1, batch_size=1, parallel="fsdp", ema_dtype="bf16")
