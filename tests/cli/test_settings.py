"""Settings from the command line: types, swaps, and where a value was set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import fiddle as fdl
import pytest

from sedd_core import UserError
from sedd_core.cli import settings
from sedd_core.cli.config import node_of, stage
from sedd_core.cli.experiment import load_experiment
from sedd_core.cli.show import resolved
from sedd_core.cli.values import parse
from sedd_core.record import build

EXPERIMENTS = sorted(
    path for path in (Path(__file__).parents[2] / "experiments").glob("*.py") if path.stem != "__init__"
)


def quickstart() -> fdl.Config[Any]:
    return load_experiment(str(EXPERIMENTS[0].parent / "quickstart.py"))


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("5", int, 5),
        ("5.0", int, 5),
        ("1e3", int, 1000),
        ("-2", int, -2),
        ("1e-4", float, 1e-4),
        ("20", float, 20.0),
        ("true", bool, True),
        ("False", bool, False),
        ("plain words", str, "plain words"),
        ("'quoted'", str, "quoted"),
        ("12", str, "12"),
        ("true", str, "true"),
        ("None", int | None, None),
        ("5", int | None, 5),
        ("iid", Literal["stratified", "iid"], "iid"),
        ("a.txt", tuple[str, ...], ("a.txt",)),
        ("('a', 'b')", tuple[str, ...], ("a", "b")),
        ("['a', 'b']", tuple[str, ...], ("a", "b")),
        ("()", tuple[str, ...], ()),
        ("(a.txt, b.txt)", tuple[str, ...], ("a.txt", "b.txt")),
        ("[a.txt, b.txt]", tuple[str, ...] | None, ("a.txt", "b.txt")),
        ("{[]: 1}", str, "{[]: 1}"),
        ("(1, 2.5)", tuple[int, float], (1, 2.5)),
    ],
)
def test_values(text: str, annotation: Any, value: Any) -> None:
    parsed = parse(text, annotation, "here")
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("two", int),
        ("2.5", int),
        ("true", int),
        ("1", bool),
        ("x", float),
        ("None", int),
        ("(1, 'b')", tuple[str, ...]),
        ("(1, 2, 3)", tuple[int, float]),
        ("True", Literal[1, 2]),
        ("{[]: 1}", int),
        ("9" * 400, float),
    ],
)
def test_values_of_another_type(text: str, annotation: Any) -> None:
    with pytest.raises(UserError, match="here takes"):
        parse(text, annotation, "here")


@pytest.mark.parametrize("text", ["(a, b", "('a', 'b'", "('a, b)", "('a', b)", "[a, b)"])
def test_brackets_and_quotes_left_open(text: str) -> None:
    with pytest.raises(UserError, match="here cannot be read from"):
        parse(text, tuple[str, ...], "here")


def test_a_value_deep_in_the_config() -> None:
    config = quickstart()
    assert settings.apply(config, "training.steps=7") == []
    assert settings.apply(config, "model.hidden_size=64") == []
    assert (config.training.steps, config.model.hidden_size) == (7, 64)
    assert "training.steps = 7" in resolved(config)
    assert [line.split("# ")[1] for line in resolved(config).splitlines() if line.startswith("training.steps ")] == [
        "command line"
    ]


@pytest.mark.parametrize("text", ["geometric", "noise_geometric"])
def test_a_swap_of_a_stage(text: str) -> None:
    config = quickstart()
    settings.apply(config, f"noise={text}")
    assert node_of(config)["args"]["noise"] == {"plugin": "noise_geometric", "args": {}}
    settings.apply(config, "noise.sigma_max=10")
    assert config.noise.sigma_max == 10.0


def test_a_swap_keeps_arguments_of_the_same_name_and_says_so() -> None:
    config = quickstart()
    settings.apply(config, "graph.vocab_size=1024")
    assert settings.apply(config, "graph=uniform") == ["graph: graph_absorb -> graph_uniform, kept vocab_size=1024"]
    assert config.graph.vocab_size == 1024
    config.noise = stage("noise_loglinear", eps=0.01)
    assert settings.apply(config, "noise=geometric") == ["noise: noise_loglinear -> noise_geometric, dropped eps"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_composes(path: Path) -> None:
    config = load_experiment(str(path))
    if path.stem == "sample":
        settings.apply(config, "checkpoint=somewhere")
    assert build(node_of(config)).describe()
    assert (path.read_text().split('"""')[1]).count("--fdl_config=experiments/") == 1, "its header has its command"


def test_places_in_the_experiment_are_shown() -> None:
    lines = dict(line.split(" = ", 1) for line in resolved(quickstart()).splitlines())
    lines = {path.strip(): rest for path, rest in lines.items()}
    assert "quickstart.py:" in lines["model.hidden_size"]
    assert lines["data.valid_fraction"].endswith("# default")
    assert "the run fills this in" in lines["graph.vocab_size"]
