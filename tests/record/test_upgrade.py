"""Upgrade of records from format 1: old names of settings and of history paths, and damaged contents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sedd_core import UserError
from sedd_core.record import Node, Record
from sedd_core.record.upgrade import ADDED, FORMAT, RENAMED, RENAMED_PATHS, upgrade, with_new_names

TRAINING = {"core": "Training", "args": {"steps": 3, "batch_size": 1, "ema": 0.5, "snapshot_every": 2}}
OLD: dict[str, Any] = {
    "format": 1,
    "run": {
        "core": "Train",
        "args": {"training": TRAINING, "more_valid": {"tuple": [{"plugin": "data_text", "args": {"ema": 1}}]}},
    },
    "history": [{"step": 2, "path": "training.ema", "old": "0.9", "new": "0.5"}],
}


def read(folder: Path, content: Any) -> Record:
    (folder / "config.json").write_text(json.dumps(content))
    return Record.read(folder / "config.json")


def test_a_record_of_format_1_has_the_new_names(tmp_path: Path) -> None:
    record = read(tmp_path, OLD)
    assert record.format == FORMAT == 2
    assert record.node("training").args == {"steps": 3, "batch_size": 1, "ema_decay": 0.5, "eval_every": 2}
    assert record.run.args["more_valid"][0].args == {"ema": 1}  # a plugin's own argument
    assert [change.path for change in record.history] == ["training.ema_decay"]
    record.write(tmp_path / "new.json")
    assert Record.read(tmp_path / "new.json") == record


@pytest.mark.parametrize(("old", "new"), RENAMED_PATHS.items())
def test_paths_of_the_history_have_the_new_names(tmp_path: Path, old: str, new: str) -> None:
    change = {"step": 2, "path": old, "old": "0.9", "new": "0.5"}
    other = {**change, "path": f"data.{old}"}  # another setting whose path ends alike
    record = read(tmp_path, OLD | {"history": [change, other]})
    assert [change.path for change in record.history] == [new, f"data.{old}"]


@pytest.mark.parametrize("cls", RENAMED)
def test_settings_of_every_class_have_the_new_names(cls: str) -> None:
    old = {name: index for index, name in enumerate(RENAMED[cls])}
    new = dict(zip(RENAMED[cls].values(), old.values(), strict=True))
    assert with_new_names(cls, old | {"other": 9}) == new | {"other": 9}
    added = {name: Node("plugin", plugin) for name, plugin in ADDED.get(cls, {}).items()}
    assert upgrade(Node("core", cls, old)).args == added | new
    assert upgrade(Node("core", cls, new)).args == added | new


def test_the_loss_of_format_1_is_the_plugin_score_entropy(tmp_path: Path) -> None:
    assert read(tmp_path, OLD).node("objective") == Node("plugin", "objective_score_entropy")
    other = Node("plugin", "objective_of_mine")
    assert upgrade(Node("core", "Train", {"objective": other})).args == {"objective": other}


@pytest.mark.parametrize("kind", ["plugin", "file"])
def test_only_classes_of_the_core_are_renamed(kind: Any) -> None:
    inner = Node("core", "Training", {"ema": 0.5})
    node = Node(kind, "Training", {"ema": 1, "inner": (inner, 2)})
    assert upgrade(node).args == {"ema": 1, "inner": (Node("core", "Training", {"ema_decay": 0.5}), 2)}


def test_records_of_this_format_are_not_renamed(tmp_path: Path) -> None:
    record = read(tmp_path, OLD | {"format": FORMAT})
    assert record.node("training").args == TRAINING["args"]
    assert [change.path for change in record.history] == ["training.ema"]


DAMAGE: list[dict[str, Any]] = [
    {"run": 5},
    {"run": None},
    {"run": [{"args": 3}]},
    {"run": {"core": "Training", "args": [["ema", 1]]}},
    {"run": {"core": ["Training"], "args": {"ema": 1}}},
    {"run": {"core": "Train", "args": {"training": {"core": None, "args": {"ema": 1}}}}},
    {"run": {"core": "Train", "args": {"training": {"core": "Training", "args": {"ema": {"tuple": 1}}}}}},
    {"run": {"core": "Train", "args": {"training": {"core": "Training"}}}},
    {"history": 5},
    {"history": [5]},
    {"history": [{"path": []}]},
    {"history": [{"step": 2, "path": ["training.ema"], "old": "", "new": ""}]},
    {"history": [{"step": "2", "path": "training.ema", "old": "", "new": ""}]},
    {"format": 0},
    {"format": True},
    {"format": "1"},
    {"format": 1.0},
]


@pytest.mark.parametrize("damage", DAMAGE, ids=json.dumps)
def test_a_damaged_record_of_format_1_is_one_message(tmp_path: Path, damage: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is not a record") as caught:
        read(tmp_path, OLD | damage)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    "args",
    [{"ema": 1, "ema_decay": 2}, {"ema": {"plugin": "x", "args": {}}}, {"ema": {"tuple": [{"tuple": []}, None]}}],
)
def test_odd_values_of_renamed_settings_are_read(args: dict[str, Any]) -> None:
    """Their types are checked when the run is built, by the settings' current names."""
    upgraded = upgrade(Node.from_json({"core": "Training", "args": args}))
    assert list(upgraded.args) == ["ema_decay"]


def test_the_score_head_of_format_1_is_the_plugin_of_this_name(tmp_path: Path) -> None:
    score = {"core": "ScoreHead", "args": {"scale_by_sigma": False}}
    record = read(tmp_path, {"format": 1, "run": {"core": "Train", "args": {"score": score}}})
    assert record.node("head") == Node("plugin", "head_score", {"scale_by_sigma": False})
    assert "score" not in record.run.args
