"""Plugins installed and uninstalled for real, in an environment of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if (folder / "pyproject.toml").is_file())


class Environment:
    """A virtual environment that shares every library with this one, but none of our own distributions."""

    def __init__(self, folder: Path, *distributions: str) -> None:
        self.python = folder / "venv" / "bin" / "python"
        libraries = folder / "libraries"
        libraries.mkdir()
        for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
            if not re.match(r"sedd[_-]", entry.name) and entry.suffix != ".pth":
                (libraries / entry.name).symlink_to(entry)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(f"{libraries}\n")
        self.pip("install", *distributions)

    def pip(self, command: str, *arguments: str) -> None:
        flags = ["--no-deps", "--no-build-isolation", "--no-index"] if command == "install" else ["--yes"]
        subprocess.run([self.python, "-m", "pip", command, "-q", *flags, *arguments], check=True)

    def launch(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        command = [self.python, ROOT / "launch.py", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    editable = (f"-e{folder}" for folder in (ROOT, *(ROOT / "plugins" / name for name in PLUGINS)))
    return Environment(tmp_path_factory.mktemp("environment"), *editable)


def test_wheels_run_the_quickstart_outside_of_the_repository(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    for folder in (ROOT, *(ROOT / "plugins" / name for name in PLUGINS)):
        copy = tmp_path / "sources" / folder.name
        for part in (
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "sedd_core",
            "src",
        ):  # a build leaves files in a source
            if (folder / part).is_dir():
                shutil.copytree(folder / part, copy / part)
            elif (folder / part).is_file():
                copy.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / part, copy)
        build = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", f"-w{wheels}", copy]
        subprocess.run([sys.executable, "-m", *build], check=True)
    environment = Environment(tmp_path, *map(str, wheels.glob("*.whl")))
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    settings = ["training.steps=2", "evaluator.sequences=4", "evaluator.references=false", "samples.steps=4"]
    command = [environment.python, "-m", "sedd_core", "launch", "--fdl_config=experiments/quickstart.py", *settings]
    environment_of = {**os.environ, "PYTHONPATH": ""}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment_of)
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob("runs/quickstart/*/results.json"))) == 1
    code = "import sedd_core, head_score; print(sedd_core.__file__, head_score.__file__)"
    shown = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert str(ROOT) not in shown.stdout


SWAPS = {
    "noise": "noise_geometric",
    "graph": "graph_uniform",
    "head": "head_mean",
    "sampler": "sampler_euler",
    "data": "data_text",
}
"""What stands for a stage once the quickstart's own choice is gone."""


@pytest.mark.parametrize("name", [name for name in PLUGINS if not name.startswith("format_")])
def test_without_a_plugin_all_that_does_not_name_it_works(environment: Environment, name: str, tmp_path: Path) -> None:
    quickstart = (ROOT / "experiments" / "quickstart.py").read_text()
    stage = name.split("_")[0]
    environment.pip("uninstall", f"sedd-{name.replace('_', '-')}")
    try:
        naming = tmp_path / "naming.py"
        naming.write_text(re.sub(rf'"{stage}_\w+"', f'"{name}"', quickstart))
        named = environment.launch(f"--fdl_config={naming}", "--dry_run")
        assert named.returncode == 1
        assert f"pip install -e plugins/{name}" in named.stderr
        assert "Traceback" not in named.stderr

        other = tmp_path / "other.py"
        swapped = quickstart.replace(f'"{name}"', f'"{SWAPS.get(stage)}"')
        swapped = swapped.replace('"head_mean", scale_by_sigma=True', '"head_mean"')
        other.write_text(swapped.replace('stage("None")', "None"))  # a run needs no monitor
        alone = ("model", "objective", "evaluator")  # stages with a single plugin
        if stage not in alone and name != "data_text":  # other data needs a network
            result = environment.launch(f"--fdl_config={other}", "--dry_run")
            assert result.returncode == 0, result.stderr
    finally:
        environment.pip("install", f"-e{ROOT / 'plugins' / name}")


def test_without_a_format_its_checkpoints_say_what_to_install(environment: Environment, tmp_path: Path) -> None:
    settings = [f"--checkpoint={ROOT / 'tests' / 'golden' / 'models' / 'uniform'}", "steps=2", "format=ids"]
    command = [f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", *settings, f"--run_folder={tmp_path / 'out'}"]
    environment.pip("uninstall", "sedd-format-sedd")
    try:
        result = environment.launch(*command)
        assert result.returncode == 1
        assert "looks like a SEDD model, for which the plugin format_sedd is not installed" in result.stderr
        assert "pip install -e plugins/format_sedd" in result.stderr
        assert result.stderr.count("\n") == 1
    finally:
        environment.pip("install", f"-e{ROOT / 'plugins' / 'format_sedd'}")
    assert environment.launch(*command).returncode == 0


def test_the_plugin_of_the_readme_works_after_one_install(environment: Environment, tmp_path: Path) -> None:
    blocks = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    files = dict(blocks)
    assert set(files) == {"pyproject.toml", "graph_blend.py"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    environment.pip("install", f"-e{tmp_path}")
    folder = tmp_path / "run"
    result = environment.launch(
        f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}",
        *("--fdl_set=graph=blend", "--fdl_set=training.steps=2", "--fdl_set=evaluator.sequences=4"),
        *("--fdl_set=samples.steps=4", "--fdl_set=evaluator.references=False", f"--run_folder={folder}"),
    )
    assert result.returncode == 0, result.stderr
    assert (folder / "checkpoints" / "step_000000002" / "model.safetensors").is_file()
