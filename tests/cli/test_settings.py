"""Settings from the command line: types, swaps, and where a value was set."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import fiddle as fdl
import pytest

from sedd_core import UserError, plugin
from sedd_core.build.build import build
from sedd_core.build.types import describe_type
from sedd_core.cli import settings
from sedd_core.cli.config import node_of, stage
from sedd_core.cli.experiment import load_experiment, named_sizes
from sedd_core.cli.main import main
from sedd_core.cli.show import WIDEST, resolved, settable, with_history
from sedd_core.cli.tags import add_tags
from sedd_core.cli.values import parse_value
from sedd_core.record import Node
from sedd_core.record.upgrade import RENAMED_PATHS
from sedd_core.registry.installed import variants

EXPERIMENTS = sorted(
    path for path in (Path(__file__).parents[2] / "experiments").glob("*.py") if path.stem not in ("__init__", "models")
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
    parsed = parse_value(text, annotation, "here")
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
        parse_value(text, annotation, "here")


@pytest.mark.parametrize("text", ["(a, b", "('a', 'b'", "('a, b)", "('a', b)", "[a, b)"])
def test_brackets_and_quotes_left_open(text: str) -> None:
    with pytest.raises(UserError, match="here cannot be parsed from"):
        parse_value(text, tuple[str, ...], "here")


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
    assert node_of(config).args["noise"] == Node("plugin", "noise_geometric")
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
    if path.stem in ("sample", "evaluate", "generative"):
        settings.apply(config, "checkpoint=somewhere")
    if path.stem == "generative":
        settings.apply(config, "evaluator.judge=somewhere")
    assert build(node_of(config)).describe()
    assert f"--fdl_config=experiments/{path.name}" in path.read_text().split('"""')[1], "its header has its command"


def test_places_in_the_experiment_are_shown() -> None:
    lines = dict(line.split(" = ", 1) for line in resolved(quickstart()).splitlines())
    lines = {path.strip(): rest for path, rest in lines.items()}
    assert "quickstart.py:" in lines["training.steps"]
    assert "models.py:" in lines["model.hidden_size"]
    assert lines["data.valid_fraction"].endswith("# default")
    assert "set by the run" in lines["graph.vocab_size"]


def sizes(stage: str) -> dict[str, Any]:
    return named_sizes(str(EXPERIMENTS[0]), stage)


def test_a_swap_with_arguments() -> None:
    config = quickstart()
    assert settings.apply(config, "noise=geometric(sigma_min=1e-3, sigma_max=5)") == []
    assert node_of(config).args["noise"] == Node("plugin", "noise_geometric", {"sigma_min": 1e-3, "sigma_max": 5.0})
    assert settings.apply(config, "noise=geometric(sigma_max=7)") == []
    assert node_of(config).args["noise"].args == {"sigma_min": 1e-3, "sigma_max": 7.0}


def test_a_named_size_in_a_stages_place() -> None:
    config = quickstart()
    settings.apply(config, "model=medium", sizes)
    assert (config.model.hidden_size, config.model.dropout) == (1024, 0.1)
    settings.apply(config, "model=small(dropout=0)", sizes)
    assert (config.model.n_blocks, config.model.dropout) == (12, 0.0)
    settings.apply(config, "model=ddit(n_heads=8)", sizes)  # a variant comes first, and keeps what was set
    assert (config.model.n_blocks, config.model.n_heads) == (12, 8)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("noise=geometric(sigma=1)", r"no argument 'sigma'.*It has: sigma_min, sigma_max"),
        ("noise=geometric(sigma_max=big)", r"noise=geometric.sigma_max takes float, not 'big'"),
        ("noise=geometric(1)", r"not 'geometric\(1\)': write a name, or name\(argument=value"),
        ("noise=geometric(", r"write a name, or name\(argument=value"),
        ("model=mediun", r"Did you mean 'medium'\? Named sizes: tiny, small, medium"),
        ("model=medium(depth=3)", r"no argument 'depth'.*It has: dropout"),
    ],
)
def test_a_swap_with_a_mistake(setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        settings.apply(quickstart(), setting, sizes)


def test_a_function_of_the_file_with_arguments(tmp_path: Path) -> None:
    source = """
from experiments.quickstart import config as base
def config(): return base()
def longer(steps: int = 5, name: str = "x"):
    run = base()
    run.training.steps = steps
    return run
"""
    (tmp_path / "own.py").write_text(source)
    assert load_experiment(f"{tmp_path}/own.py:longer").training.steps == 5
    assert load_experiment(f"{tmp_path}/own.py:longer(steps=9)").training.steps == 9
    with pytest.raises(UserError, match=r"longer.steps takes int, not 'many'"):
        load_experiment(f"{tmp_path}/own.py:longer(steps=many)")
    with pytest.raises(UserError, match=r"longer has no argument 'step'. Did you mean 'steps'\?"):
        load_experiment(f"{tmp_path}/own.py:longer(step=9)")


def test_what_a_value_was_before_is_shown() -> None:
    config = quickstart()
    settings.apply(config, "training.steps=7")
    settings.apply(config, "training.steps=8")
    lines = with_history(config).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("training.steps = 8"))
    assert lines[place + 1].strip() == "before: 7  # command line"
    assert lines[place + 2].strip().startswith("before: 1500  # ")
    assert "quickstart.py:" in lines[place + 2]


def test_what_can_be_set_is_listed() -> None:
    text = settable(quickstart())
    for words in [
        f"noise = noise_loglinear   (one of {', '.join(variants('noise'))})",
        "training.times = 'stratified'   (one of 'stratified', 'iid'; default 'stratified')",
        f"noise.eps = 0.001   ({describe_type(float)}; default 0.001)\n    Probability that a token is unchanged at t = 1.",
        f"optimizer.lr = 0.002   ({describe_type(float)}; default 0.0003)\n    Learning rate after the warm-up.",
        f"training.steps = 1500   ({describe_type(int)})\n    Number of updates.",
        f"sampler = sampler_analytic   (one of {', '.join(variants('sampler'))})\n    ",
        f"seed = 0   ({describe_type(int)}; default 0)\n    Random seed of the run: data order, noise, dropout, samples.",
    ]:
        assert words in text


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_setting_says_what_it_is(path: Path) -> None:
    lines = settable(load_experiment(str(path))).partition("\nTags")[0].splitlines()
    bare = [one for one, other in pairwise([*lines, ""]) if not one.startswith(" ") and not other.startswith(" ")]
    assert [line for line in bare if not line.startswith("data.")] == []


def test_short_flags_are_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = EXPERIMENTS[0].parent
    assert main(["launch.py", f"--fdl_config={folder}/quickstart.py", "--steps=7", "seed=3", "--print_config"]) == 0
    out = capsys.readouterr().out
    assert "training.steps = 7" in out
    assert "seed = 3" in out
    assert main(["launch.py", f"--fdl_config={folder}/sample.py", "--steps=7", "--checkpoint=x", "--print_config"]) == 0
    out = capsys.readouterr().out
    assert "\nsteps = 7" in out
    assert "checkpoint = 'x'" in out
    assert main(["launch.py", f"--fdl_config={folder}/quickstart.py", "--checkpoint=x", "--print_config"]) == 1
    assert "--checkpoint does not apply to a Train, which has no setting checkpoint." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([], []),
        (["graph=uniform", "noise=geometric", "head.scale_by_sigma=false"], []),
        (["graph=uniform", "noise=geometric"], ["head.scale_by_sigma=false"]),
        (["graph=uniform"], ["sigma = 6.91", "0.00039 nats per token", "noise=geometric"]),
        (["graph=uniform", "noise=geometric(sigma_max=2)"], ["sigma = 2", "nats per token"]),
        (
            ["training.steps=50"],
            ["warm-up of 100 steps is longer than the run of 50"],
        ),
    ],
)
def test_unwise_combinations_are_warned_of(
    sets: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch.py", f"--fdl_config={EXPERIMENTS[0].parent}/quickstart.py", *sets, "--dry_run"]) == 0
    error = capsys.readouterr().err
    assert [word for word in words if word not in error] == [], error
    assert bool(error) == bool(words)


def test_a_stage_that_may_be_left_out() -> None:
    config = quickstart()
    assert "monitor = monitor_tensorboard   (one of csv, tensorboard, None)" in settable(config)
    settings.apply(config, "monitor=None")
    assert node_of(config).args["monitor"] is None
    assert "monitor = None   (one of csv, tensorboard, None)" in settable(config)
    settings.apply(config, "monitor=tensorboard")
    assert node_of(config).args["monitor"] == Node("plugin", "monitor_tensorboard")


def test_tags_leave_places_and_history_as_they_are() -> None:
    config = quickstart()
    add_tags(config)
    assert "quickstart.py:" in resolved(config).splitlines()[-1]
    settings.apply(config, "seed=3")
    last, before = with_history(config).splitlines()[-2:]
    assert (last.split()[0], last.endswith("# command line")) == ("seed", True)
    assert before.strip().startswith("before: 0  # ")
    assert "quickstart.py:" in before


def test_a_process_is_judged_before_the_vocabulary_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["launch.py", f"--fdl_config={EXPERIMENTS[0].parent}/quickstart.py", "data.tokenizer=char", "--dry_run"]
    assert main([*command, "graph=uniform", "noise=geometric(sigma_max=2)"]) == 0
    captured = capsys.readouterr()
    assert "size and memory depend on the vocabulary" in captured.out
    assert "sigma = 2" in captured.err
    assert main([*command, "model.num_states=90"]) == 0


def test_a_swap_keeps_the_places_of_what_it_keeps() -> None:
    config = quickstart()
    config.noise = stage("noise_geometric", sigma_min=1e-3, sigma_max=9.0)
    settings.apply(config, "noise=geometric(sigma_max=7)")
    settings.apply(config, "model=small(dropout=0)", sizes)
    places = {line.split()[0]: line.split("# ")[1] for line in resolved(config).splitlines()}
    assert "test_settings.py:" in places["noise.sigma_min"]
    assert places["noise.sigma_max"] == places["noise"] == places["model"] == "command line"
    assert "models.py:" in places["model.hidden_size"]


@pytest.mark.parametrize(("old", "new"), RENAMED_PATHS.items())
def test_old_names_of_settings_are_accepted_with_a_warning(
    old: str, new: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = "sample" if new == "fixed_token_noise" else "quickstart"
    values = {"fixed_token_noise": "none", "head.scale_by_sigma": "false", "evaluator.references": "false"}
    value = {**values, "head": "mean"}.get(new, "0")
    config = load_experiment(str(EXPERIMENTS[0].parent / f"{experiment}.py"))
    settings.apply(config, f"{old}={value}")
    assert f"the setting {old} has been renamed to {new}; use the new name" in capsys.readouterr().err
    part = config
    for name in new.split("."):
        part = getattr(part, name)
    if new == "head":
        assert fdl.get_callable(part) is plugin("head_mean")
    else:
        assert str(part).lower() in (value, f"{value}.0")
    for name, number in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, number)
    settings.apply(config, f"{old}={value}")
    assert capsys.readouterr().err == "", "process 0 has printed it"


def test_a_very_long_value_does_not_move_the_origins_of_the_others() -> None:
    config = quickstart()
    config.init_from = "x" * 500
    lines = resolved(config).splitlines()
    columns = [line.index("  # ") for line in lines if "x" * 500 not in line]
    assert len(lines) == len(columns) + 1
    assert max(columns) == min(columns) <= WIDEST
