"""docs/contracts.md: every example passes the kit, and every signature is the code's."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from sedd_core import plugin
from sedd_core.registry.plugins import contract_fault
from sedd_core.registry.table import STAGES, contracts
from sedd_core.testing import (
    check_data,
    check_evaluator,
    check_format,
    check_graph,
    check_head,
    check_model,
    check_noise,
    check_objective,
    check_sampler,
)

PAGE = Path(__file__).parents[2] / "docs" / "contracts.md"
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.S | re.M))


@cache
def example(stage: str, index: int = 0) -> type:
    """The class that an example of a section defines."""
    source = re.findall(r"^```python\n(.*?)^```", SECTIONS[stage], re.S | re.M)[index]
    names: dict[str, Any] = {}
    exec(compile(source, f"{PAGE}:{stage}", "exec"), names)
    found = [one for one in names.values() if inspect.isclass(one) and one.__module__ == "builtins"]
    return found[-1]


def absorb() -> Any:
    return plugin("graph_absorb")(vocab_size=3)


def loglinear() -> Any:
    return plugin("noise_loglinear")()


def monitor(folder: Path) -> None:
    one = example("monitor")()
    one.start(folder, 0)
    one.scalars({"train/loss": 1.5}, 1)
    one.text("samples/0", "so", 1)
    one.hyperparameters({"seed": 0}, {"loss": 1.5})
    one.flush()
    one.close()
    lines = [json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "train/loss": 1.5}, {"step": 1, "samples/0": "so"}, {"seed": 0, "loss": 1.5}]


def form(folder: Path) -> None:
    sizes = {"num_states": 5, "hidden_size": 16, "n_blocks": 1, "n_heads": 2, "cond_dim": 8}
    (folder / "uniform.json").write_text(json.dumps(sizes))
    save_file(plugin("model_ddit")(**sizes).state_dict(), folder / "uniform.safetensors")
    check_format(example("format")(), [folder])


CHECKS: dict[str, Callable[[Path], None]] = {
    "noise": lambda folder: check_noise(example("noise")()),
    "graph": lambda folder: check_graph(example("graph")(vocab_size=5)),
    "graph in closed form": lambda folder: check_graph(example("graph", 1)(vocab_size=4)),
    "head": lambda folder: check_head(example("head")(), absorb()),
    "model": lambda folder: check_model(partial(example("model"))),
    "objective": lambda folder: check_objective(example("objective")(), absorb(), plugin("head_mean")(), loglinear()),
    "sampler": lambda folder: check_sampler(example("sampler")(), absorb(), loglinear()),
    "data": lambda folder: check_data(example("data"), other=example("data")(length=6)),
    "evaluator": lambda folder: check_evaluator(example("evaluator")(sequences=16), absorb(), loglinear()),
    "monitor": monitor,
    "format": form,
}


@pytest.mark.parametrize("check", CHECKS)
def test_every_example_passes_the_kit(check: str, tmp_path: Path) -> None:
    CHECKS[check](tmp_path)


def test_every_stage_has_a_section_and_an_example_of_its_contract() -> None:
    assert set(SECTIONS) == set(STAGES) == {check.split()[0] for check in CHECKS}
    for stage, contract in contracts().items():
        assert contract_fault(example(stage), contract) is None


@pytest.mark.parametrize("stage", STAGES)
def test_every_signature_is_the_codes(stage: str) -> None:
    contract = contracts()[stage]
    table = "\n".join(line for line in SECTIONS[stage].splitlines() if line.startswith("| `"))
    named = dict(re.findall(r"`(\w+)\(([\w, ]*)\)`", table))
    for name, parameters in named.items():
        method = getattr(contract, name, None)
        if method is not None:
            assert list(inspect.signature(getattr(method, "__func__", method)).parameters)[1:] == re.findall(
                r"\w+", parameters
            ), name
    public = {name for name, value in vars(contract).items() if inspect.isfunction(value) and name[0] != "_"}
    missing = public - set(named)
    assert not missing, f"{stage}: {', '.join(missing)}"
    abstract = set(re.findall(r"`(\w+)(?:\([\w, ]*\))?` \*abstract\*", table))
    assert abstract == set(contract.__abstractmethods__)
