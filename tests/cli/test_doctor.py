"""The doctor, and the list of plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sedd_core import UserError
from sedd_core.cli import doctor
from sedd_core.registry import plugins


def broken(name: str) -> type:
    raise UserError(f"{name} fails to import")


def test_a_sound_machine_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctor.doctor() == 0
    out = capsys.readouterr().out
    for subject in [
        "python",
        "torch",
        "GPU",
        "flash-attn",
        "Hugging Face hub",
        "graph_absorb",
        "run folder",
        "token cache",
    ]:
        assert f"ok {subject}" in out
    assert "no problems found" in out


def test_faults_come_with_their_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEDD_CACHE", str(tmp_path / "runs" / "cache"))
    monkeypatch.setattr(plugins, "plugin", broken)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "2.8.3")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert doctor.doctor() == 1
    out = capsys.readouterr().out
    for words in [
        "!! graph_absorb       broken: graph_absorb fails to import",
        "!! flash-attn         2.8.3: it needs a torch built for CUDA",
        "!! run folder         runs: runs is not writable: set another with --run_folder",
        "set another with SEDD_CACHE",
        "problems found",
    ]:
        assert words in out


def test_plugins_are_listed_without_importing_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "plugin", broken)
    assert doctor.list_plugins(check=False, as_json=True) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["graph_absorb"] == {"name": "graph_absorb", "distributions": ["sedd-graph-absorb 0.2.0"]}


def test_the_check_reports_what_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.list_plugins(check=True, as_json=False) == 0
    assert "graph_absorb         sedd-graph-absorb 0.2.0  ok" in capsys.readouterr().out
    monkeypatch.setattr(plugins, "plugin", broken)
    assert doctor.list_plugins(check=True, as_json=True) == 1
    first = json.loads(capsys.readouterr().out)[0]
    assert first["fault"] == f"{first['name']} fails to import"


def test_the_check_describes_samplers(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.list_plugins(check=True, as_json=True) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["sampler_euler"]["order"] == 1.0
    assert rows["sampler_confidence"]["graphs"] == "absorb"
    assert "marginal" not in rows["graph_absorb"]
    assert doctor.list_plugins(check=True, as_json=False) == 0
    euler = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("sampler_euler"))
    assert euler.endswith("ok: order 1.0; calls at most 1 per step; graphs any; marginal followed at first order")


@pytest.mark.parametrize("command", [["plugins", "--chek"], ["doctor", "x"], ["export", "x"], ["lanch"], []])
def test_a_command_that_is_none(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", "sedd_core", *command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: '{' '.join(command)}' is not a command.\nusage: ")


def test_a_reader_that_has_seen_enough() -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "sedd_core", "plugins"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")
