"""Records: whole, portable, and safe to read from anywhere."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from sedd_core import UserError, plugin
from sedd_core.build.build import bind, build
from sedd_core.model.score import ScoreHead
from sedd_core.record.node import nodes_in
from sedd_core.record.record import FORMAT, Record
from tests.support.attacks import ATTACKS

NOISE = {"plugin": "noise_geometric", "args": {"sigma_max": 10.0}}
GRAPH = {"plugin": "graph_absorb", "args": {}}


def test_a_node_is_built() -> None:
    assert build(NOISE).sigma_max == 10.0
    assert isinstance(build({"core": "ScoreHead", "args": {"scale_by_sigma": False}}), ScoreHead)
    assert build({"tuple": [1, {"tuple": ["a", None]}]}) == (1, ("a", None))


def test_a_graph_waits_for_its_run() -> None:
    waiting = build(GRAPH)
    assert isinstance(waiting, partial)
    graph, arguments = bind(waiting, "graph", vocab_size=7)
    assert (graph.num_states, arguments) == (8, {"vocab_size": 7})
    stated = build({"plugin": "graph_absorb", "args": {"vocab_size": 8}})
    with pytest.raises(UserError, match=r"graph.vocab_size is 8, but this run's is 7"):
        bind(stated, "graph", vocab_size=7)


@pytest.mark.parametrize("node", ATTACKS, ids=lambda node: json.dumps(node)[:50])
def test_nothing_but_named_classes_can_be_built(
    node: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        build(node)
    assert not list(tmp_path.iterdir())


def test_faults_are_named_by_their_place() -> None:
    node = {"core": "ScoreHead", "args": {"scale_by_sigm": True}}
    with pytest.raises(UserError, match=r"has no argument 'scale_by_sigm'. Did you mean 'scale_by_sigma'\?"):
        build(node)
    with pytest.raises(UserError, match=r"noise cannot be made: 0 < sigma_min < sigma_max"):
        build({"plugin": "noise_geometric", "args": {"sigma_max": -1.0}}, "noise")


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = Record(run=NOISE, command="launch.py", plugins={"noise_geometric": {"version": "0.1.0"}}, data="abc")
    record.write(tmp_path / "config.json")
    assert Record.read(tmp_path / "config.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    nodes = nodes_in({"tuple": [NOISE, {"core": "X", "args": {"a": GRAPH}}]})
    assert [node["plugin"] for node in nodes if "plugin" in node] == ["noise_geometric", "graph_absorb"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'{{"format": {FORMAT + 1}, "run": {{}}}}', "update it"),
        ("{", "is no record"),
        ("[]", "is no record"),
        ('{"run": {}}', "is no record"),
        (f'{{"format": {FORMAT}, "run": {{}}, "surprise": 1}}', "is no record"),
        (f'{{"format": {FORMAT}, "run": []}}', "is no record.*its 'run' is"),
        (f'{{"format": {FORMAT}, "run": {{}}, "plugins": 5}}', "is no record.*its 'plugins' is 5"),
        ("[" * 100_000, "is no record"),
        (f'{{"format": {FORMAT}, "run": {{"core": "Train", "args": "x"}}}}', "is no record.*it is damaged at run"),
        (
            f'{{"format": {FORMAT}, "run": {{"core": "Train", "args": {{"data": {{"plugin": "x", "args": 1.5}}}}}}}}',
            r"it is damaged at run\.data",
        ),
        (f'{{"format": {FORMAT}, "run": {{"core": 5, "args": {{}}}}}}', "it is damaged at run"),
        (
            '{"format": 1, "run": {"core": "x", "args": {"a": ' + '{"tuple": [' * 300 + "1" + "]}" * 300 + "}}}",
            r"it is damaged at run\.a\[0\]",
        ),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=words):
        Record.read(tmp_path / "config.json")


@pytest.mark.parametrize("run", [{}, {"args": []}, {"args": {"noise": NOISE}}])
def test_an_argument_that_a_record_lacks_is_named(run: dict[str, object]) -> None:
    with pytest.raises(UserError, match="its run has no 'graph'"):
        Record(run=run).node("graph")


def test_a_number_that_json_has_not_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Record(run={"core": "Train", "args": {"seed": float("nan")}}).write(tmp_path / "config.json")
    assert not (tmp_path / "config.json").exists()


def test_reading_imports_only_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "graph_uniform", raising=False)
    plugin.cache_clear()
    build(NOISE)
    assert "graph_uniform" not in sys.modules


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"plugin": "noise_geometric", "args": {"sigma_max": "high"}}, r"noise.sigma_max takes a number, not 'high'"),
        ({"plugin": "noise_geometric", "args": {"sigma_max": True}}, r"noise.sigma_max takes a number, not True"),
        ({"plugin": "noise_geometric", "args": {"sigma_max": {"tuple": [1.0]}}}, r"takes a number, not \(1.0,\)"),
        ({"plugin": "noise_geometric", "args": {"sigma_max": NOISE}}, r"takes a number, not a Geometric"),
        ({"core": "Training", "args": {"steps": 1.5, "batch_size": 1}}, r"noise.steps takes a whole number, not 1.5"),
        (
            {"core": "Training", "args": {"steps": 1, "batch_size": 1, "times": "x"}},
            r"takes one of 'stratified', 'iid'",
        ),
    ],
)
def test_values_of_another_type_are_refused(node: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(node, "noise")


def test_a_whole_number_serves_for_a_number() -> None:
    noise = build({"plugin": "noise_geometric", "args": {"sigma_max": 10}})
    assert type(noise.sigma_max) is float


def test_a_stage_in_anothers_place_is_refused() -> None:
    sample = {"core": "Sample", "args": {"checkpoint": "x", "sampler": NOISE}}
    with pytest.raises(UserError, match="sampler takes Sampler, not a Geometric"):
        build(sample)
