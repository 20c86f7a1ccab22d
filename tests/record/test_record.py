"""Records: whole, portable, and safe to read from anywhere."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import sedd_core.runs  # noqa: F401 - records name its classes
from sedd_core import UserError, plugin
from sedd_core.build.build import bind, build
from sedd_core.record import FORMAT, Node, Record
from sedd_core.training import Samples
from tests.support.attacks import ATTACKS

NOISE = Node("plugin", "noise_geometric", {"sigma_max": 10.0})
GRAPH = Node("plugin", "graph_absorb")


def test_a_node_is_built() -> None:
    assert build(NOISE).sigma_max == 10.0
    assert build(Node("core", "Samples", {"count": 3})) == Samples(count=3)
    profiled = build(Node("core", "Training", {"steps": 9, "batch_size": 1, "profile": (1, 2)}))
    assert profiled.profile == (1, 2)


def test_a_node_comes_back_from_json() -> None:
    inner = Node("file", "Mine", {"x": (1, ("a", None)), "noise": NOISE}, file="mine.py", sha256="12ab")
    node = Node("core", "Train", {"data": inner, "more_valid": (GRAPH, GRAPH)})
    content = json.loads(json.dumps(node.to_json()))
    assert content["args"]["data"]["args"]["x"] == {"tuple": [1, {"tuple": ["a", None]}]}
    assert Node.from_json(content) == node


def test_a_node_is_walked_with_paths() -> None:
    node = Node("core", "Train", {"data": Node("plugin", "data_text", {"paths": ("a", "b")}), "seed": 3})
    assert [path for path, _ in node.walk()] == ["", "data", "data.paths[0]", "data.paths[1]", "seed"]
    assert [one.name for one in node.nodes()] == ["Train", "data_text"]
    assert node.args["data"].map_args(lambda value, path: f"{path}={value}", "data") == {
        "paths": ("data.paths[0]=a", "data.paths[1]=b")
    }


def test_a_graph_waits_for_its_run() -> None:
    waiting = build(GRAPH)
    assert isinstance(waiting, partial)
    graph, arguments = bind(waiting, "graph", vocab_size=7)
    assert (graph.num_states, arguments) == (8, {"vocab_size": 7})
    stated = build(Node("plugin", "graph_absorb", {"vocab_size": 8}))
    with pytest.raises(UserError, match=r"graph.vocab_size is 8, but this run's is 7"):
        bind(stated, "graph", vocab_size=7)


@pytest.mark.parametrize("node", ATTACKS, ids=lambda node: json.dumps(node)[:50])
def test_nothing_but_named_classes_can_be_built(node: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UserError, ValueError)):
        build(Node.from_json(node))
    assert not list(tmp_path.iterdir())


def test_faults_are_named_by_their_place() -> None:
    node = Node("core", "Samples", {"conut": 3})
    with pytest.raises(UserError, match=r"has no argument 'conut'. Did you mean 'count'\?"):
        build(node)
    with pytest.raises(UserError, match=r"noise cannot be made: 0 < sigma_min < sigma_max"):
        build(Node("plugin", "noise_geometric", {"sigma_max": -1.0}), "noise")


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = Record(run=NOISE, command="launch.py", plugins={"noise_geometric": {"version": "0.1.0"}}, data="abc")
    record.write(tmp_path / "config.json")
    assert Record.read(tmp_path / "config.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'{{"format": {FORMAT + 1}, "run": {{}}}}', "update it"),
        ("{", "is not a record"),
        ("[]", "is not a record"),
        ('{"run": {}}', "is not a record"),
        (f'{{"format": {FORMAT}, "run": {{}}, "surprise": 1}}', "is not a record"),
        (f'{{"format": {FORMAT}, "run": []}}', "is not a record.*its 'run' is"),
        (f'{{"format": {FORMAT}, "run": {{}}, "plugins": 5}}', "is not a record.*its 'plugins' is 5"),
        ("[" * 100_000, "is not a record"),
        (f'{{"format": {FORMAT}, "run": {{"core": "Train", "args": "x"}}}}', "is not a record.*it is damaged at run"),
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


@pytest.mark.parametrize("args", [{}, {"noise": NOISE}, {"graph": 5}])
def test_an_argument_that_a_record_lacks_is_named(args: dict[str, object]) -> None:
    with pytest.raises(UserError, match="its run has no 'graph'"):
        Record(run=Node("core", "Train", args)).node("graph")


def test_a_number_that_json_has_not_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Record(run=Node("core", "Train", {"seed": float("nan")})).write(tmp_path / "config.json")
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
        (Node("plugin", "noise_geometric", {"sigma_max": "high"}), r"noise.sigma_max takes float, not 'high'"),
        (Node("plugin", "noise_geometric", {"sigma_max": True}), r"noise.sigma_max takes float, not True"),
        (Node("plugin", "noise_geometric", {"sigma_max": (1.0,)}), r"takes float, not \(1.0,\)"),
        (Node("plugin", "noise_geometric", {"sigma_max": NOISE}), r"takes float, not a Geometric"),
        (Node("core", "Training", {"steps": 1.5, "batch_size": 1}), r"noise.steps takes int, not 1.5"),
        (
            Node("core", "Training", {"steps": 1, "batch_size": 1, "times": "x"}),
            r"takes one of 'stratified', 'iid'",
        ),
    ],
)
def test_values_of_another_type_are_refused(node: Node, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(node, "noise")


def test_a_whole_number_serves_for_a_number() -> None:
    noise = build(Node("plugin", "noise_geometric", {"sigma_max": 10}))
    assert type(noise.sigma_max) is float


def test_a_stage_in_anothers_place_is_refused() -> None:
    sample = Node("core", "Sample", {"checkpoint": "x", "sampler": NOISE})
    with pytest.raises(UserError, match="sampler takes Sampler, not a Geometric"):
        build(sample)
