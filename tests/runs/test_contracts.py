"""Checks of a run before it starts: contracts on a few states, and graphs too large for the memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core import UserError, plugin
from sedd_core.cli.main import main
from sedd_core.runs import contracts
from sedd_core.runs.contracts import check_contracts, inspection_graph, is_on_meta
from sedd_core.stages import Graph, Noise, NoiseLevel, Sampler, dense
from sedd_core.testing import check_graph
from tests.support.graphs import Drifting, Ring

QUICKSTART = f"--fdl_config={Path(__file__).parents[2] / 'experiments' / 'quickstart.py'}"


class Ladder(Graph):
    """Each state turns into the next one, the last is the mask: laws with exact zeros."""

    def __init__(self, *, vocab_size: int) -> None:
        super().__init__(vocab_size=vocab_size, num_states=vocab_size + 1, mask=vocab_size)
        matrix = torch.diag(torch.ones(vocab_size, dtype=torch.float64), 1)
        matrix -= torch.diag(matrix.sum(-1))
        self.register_buffer("matrix", matrix, persistent=False)

    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        elapsed = level.at(x).elapsed(None if since is None else since.at(x))
        kernel = torch.matrix_exp(elapsed[..., None, None] * self.matrix).triu()
        return kernel.gather(-2, x[..., None, None].expand(*x.shape, 1, self.num_states))[..., 0, :]

    def rate_into(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return self.matrix.T[x]

    def prior_law(self) -> Tensor:
        return torch.eye(self.num_states, dtype=torch.float64)[-1]


def parts(**others: Any) -> dict[str, Any]:
    shipped = {
        "graph": plugin("graph_absorb")(vocab_size=6),
        "noise": plugin("noise_loglinear")(),
        "sampler": plugin("sampler_euler")(),
    }
    return {**shipped, **others}


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("noise", ["loglinear", "geometric"])
@pytest.mark.parametrize("sampler", ["euler", "analytic"])
@pytest.mark.parametrize("size", [2, 3, 300])
def test_what_is_shipped_keeps_its_contracts(graph: str, noise: str, sampler: str, size: int) -> None:
    own = plugin(f"sampler_{sampler}")()
    check_contracts(plugin(f"graph_{graph}")(vocab_size=size), plugin(f"noise_{noise}")(), own)
    assert own.stats.positions == 0


def test_a_process_of_another_kind_keeps_them() -> None:
    check_contracts(**parts(graph=Ring(5)))


class Heavy(Ring):
    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        return super().transition(x, level, since) * 1.05


class Turned(Ring):
    def rate_into(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return super().rate_into(x, level).roll(1, -1)


class Single(Ring):
    def transition(self, x: Tensor, level: NoiseLevel, since: NoiseLevel | None = None) -> Tensor:
        return super().transition(x, level, since).float()


class Unnormalized(Ring):
    def prior_law(self) -> Tensor:
        return super().prior_law() * 2


class Bottomless(Ring):
    def score_entropy(self, *arguments: Any) -> Tensor:
        return super().score_entropy(*arguments) - 1


class Straight(Noise):
    """sigma = 5 t, stated wrongly in one place or another."""

    def __init__(self, rate: float = 5.0, inverse: float = 5.0, sign: float = 1.0) -> None:
        super().__init__()
        self.slope, self.inverse, self.sign = rate, inverse, sign

    def forward(self, t: Tensor) -> NoiseLevel:
        t = t.double()
        return NoiseLevel(t, self.sign * 5 * t, self.slope + 0 * t)

    def time(self, sigma: Tensor) -> Tensor:
        return sigma / self.inverse


class Short(Sampler):
    def step(self, x: Tensor, *others: Any) -> Tensor:
        return x[:, :-1]


class Outside(Sampler):
    def step(self, x: Tensor, *others: Any) -> Tensor:
        return x + 100


FAULTS = {
    "rows that sum to 1.05": ({"graph": Heavy(5)}, "Heavy.*rows of transition sum to 1, not to 1.05 .*check_graph"),
    "rates turned": ({"graph": Turned(5)}, "rate_into"),
    "a transition in float32": ({"graph": Single(5)}, "float64, not torch.float32"),
    "a prior that sums to 2": ({"graph": Unnormalized(5)}, "prior_law sums to 1, not to 2"),
    "a transition that does not compose": (
        {"graph": Drifting()},
        "Drifting.*then from it to another .*, equals transition",
    ),
    "an entropy below 0": ({"graph": Bottomless(5)}, "score_entropy is nonnegative"),
    "a wrong rate": ({"noise": Straight(rate=4.0)}, "Straight.*rate is the derivative.*check_noise"),
    "a wrong inverse": ({"noise": Straight(inverse=4.0)}, "is t"),
    "noise that falls": ({"noise": Straight(sign=-1.0)}, "grows"),
    "a step that shortens": ({"sampler": Short()}, "Short.*with the shape and type of x.*check_sampler"),
    "a step outside of the states": ({"sampler": Outside()}, "states between 0 and num_states - 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_breaks_its_contract_is_refused(fault: str) -> None:
    others, words = FAULTS[fault]
    with pytest.raises(UserError, match=rf"(?s){words}.*--no_checks"):
        check_contracts(**parts(**others))


def test_laws_with_exact_zeros_pass() -> None:
    check_graph(Ladder(vocab_size=4))
    check_contracts(**parts(graph=Ladder(vocab_size=4)))


def test_one_kernel_for_each_step_and_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, shapes = Ring(7), []
    kernel = partial(dense.kernel, graph)
    x = torch.arange(24).remainder(7).view(4, 6)
    score = torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    level = NoiseLevel.of_sigma(torch.tensor([0.9, 0.9, 0.5, 0.5]))
    earlier = NoiseLevel.of_sigma(torch.tensor([0.4, 0.4, 0.4, 0.4]))
    expected = torch.empty(4, 6, 7, dtype=torch.float64)
    for b, i in [(b, i) for b in range(4) for i in range(6)]:
        matrix = kernel(level.pick(b), earlier.pick(b))
        expected[b, i] = (torch.linalg.solve(matrix.mT, score[b, i]) * matrix[:, x[b, i]]).clamp(min=0)
    monkeypatch.setattr(
        dense,
        "kernel",
        lambda graph, now, then: shapes.append((now.sigma.shape, then.sigma.shape)) or kernel(now, then),
    )
    values, _ = graph.posterior_weights(x, score, level, earlier)
    assert torch.allclose(values, expected, rtol=1e-12, atol=1e-14)
    assert shapes == [((), ()), ((), ())]


def test_a_graph_that_no_memory_holds_is_refused_with_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "device_memory", lambda: None)
    monkeypatch.setattr(contracts, "_host_memory", lambda: 16 * 2**30)
    words = r"Ladder .* 50,257 x 50,257 x 8 bytes = 18.8 GiB, of which 3 are in memory at once: 56.5 GiB of 16.0 GiB"
    with pytest.raises(UserError, match=words):
        inspection_graph(partial(Ladder), 50257)
    assert not is_on_meta(inspection_graph(partial(Ladder), 100))
    monkeypatch.setattr(contracts, "_host_memory", lambda: 128 * 2**30)
    assert is_on_meta(inspection_graph(partial(Ladder), 50257))  # fits, and is constructed without values


MINE = '''
import fiddle as fdl, torch
from experiments.quickstart import config as quickstart
from sedd_core.stages import Graph, InterpolatingGraph
from tests.runs.test_contracts import Heavy

class Checked(InterpolatingGraph):
    """Looks at the values of its law when it is made."""
    def __init__(self, *, vocab_size: int) -> None:
        pi = torch.rand(vocab_size, dtype=torch.float64)
        pi = pi / pi.sum()
        if abs(pi.sum().item() - 1) > 1e-9:
            raise ValueError("pi must sum to 1")
        super().__init__(pi, vocab_size=vocab_size)

class Fat(Heavy):
    def __init__(self, *, vocab_size: int) -> None:
        super().__init__(vocab_size)

def config(graph: str = "Checked"):
    run = quickstart()
    run.graph = fdl.Partial(globals()[graph])
    run.data.tokenizer, run.data.length = "char", 16
    run.head.scale_by_sigma = False
    return run
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    yield "mine.py"
    sys.modules.pop("experiment_mine", None)


def test_a_graph_that_checks_values_when_it_is_made(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", mine, "--dry_run"]) == 0
    assert main(["launch.py", mine, "data.tokenizer=bpe", "--dry_run"]) == 0
    assert "states   1024" in capsys.readouterr().out


def test_a_run_with_a_broken_part_does_not_start(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    broken = f"{mine}:config(graph='Fat')"
    assert main(["launch.py", broken, "--run_folder=run"]) == 1
    assert "Fat violates its contract: rows of transition sum to 1, not to 1.05" in capsys.readouterr().err
    assert not Path("run").exists()
    assert main(["launch.py", broken, "--dry_run", "--no_checks"]) == 0


def test_what_is_shipped_is_checked_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch.py", QUICKSTART, "--dry_run"]) == 0
