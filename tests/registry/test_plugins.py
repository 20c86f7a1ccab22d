"""Discovery and the checks of a plugin, on distributions that are folders put on the path."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedd_core import UserError
from sedd_core.cli import doctor
from sedd_core.registry import plugins
from sedd_core.registry.installed import find_plugin, installed, variants
from sedd_core.registry.plugins import plugin
from sedd_core.registry.table import STAGES, contracts
from tests.support.distributions import Distributions, distributions_in

GOOD = """
from sedd_core import hookimpl
from sedd_core.stages import Noise, NoiseLevel

class Toy(Noise):
    def __init__(self, *, speed: float = 1.0) -> None:
        super().__init__()
        self.speed = speed

    def forward(self, t):
        t = t.double()
        return NoiseLevel(t, t * self.speed, t * 0 + self.speed)

    def time(self, sigma):
        return sigma.double() / self.speed

@hookimpl
def sedd_noise():
    return Toy
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with distributions_in(tmp_path, monkeypatch) as toys:
        yield toys


def test_a_plugin_elsewhere_is_found_by_name(toys: Distributions) -> None:
    toys.add("somebodys-noise", {"noise_toy": GOOD})
    assert "toy" in variants("noise")
    assert plugin("noise_toy")(speed=2.0).speed == 2.0
    assert plugins.name_of(plugin("noise_toy")) == "noise_toy"


def test_one_distribution_may_have_several(toys: Distributions) -> None:
    toys.add("two", {"noise_one": GOOD, "noise_two": GOOD.replace("Toy", "Other")})
    assert plugin("noise_one").__name__ == "Toy"
    assert plugin("noise_two").__name__ == "Other"


def test_listing_imports_nothing(toys: Distributions) -> None:
    toys.add("explosive", {"noise_explosive": "raise RuntimeError('imported')"})
    assert installed()["noise_explosive"][0].version == "1.0"
    assert "noise_explosive" not in sys.modules


def test_a_broken_plugin_is_reported_and_leaves_others_alone(toys: Distributions) -> None:
    toys.add("explosive", {"noise_explosive": "import a_module_that_is_not_there"})
    with pytest.raises(
        UserError, match=r"'noise_explosive' \(explosive 1.0\).*fails to import.*a_module_that_is_not_there"
    ):
        plugin("noise_explosive")
    assert plugin("noise_loglinear")


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "class Panic(BaseException): ...\nraise Panic('of a library in Rust')",
        GOOD.replace("return Toy", "raise SystemExit"),
        GOOD.replace("return Toy", "return 1 / 0"),
    ],
)
def test_a_plugin_that_ends_the_process_is_a_broken_one(
    toys: Distributions, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert source != GOOD
    toys.add("explosive", {"noise_explosive": source})
    with pytest.raises(UserError, match=r"'noise_explosive' \(explosive 1.0\) cannot be used: it"):
        plugin("noise_explosive")
    assert doctor.list_plugins(check=True, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "!!" in line] == [line for line in lines if "noise_explosive" in line]
    assert len(lines) > 5


def test_two_distributions_of_one_name_are_both_named(toys: Distributions) -> None:
    toys.add("first", {"noise_toy": GOOD})
    toys.add("second", {"noise_toy": GOOD})
    with pytest.raises(UserError, match="first and second"):
        plugin("noise_toy")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "graph_absorp",
            ["Did you mean 'graph_absorb'?", "graph_absorb, graph_gidd, graph_hybrid, graph_uniform"],
        ),
        ("graph_ring", ["graph_absorb, graph_gidd, graph_hybrid, graph_uniform"]),
        ("grahp_absorb", ["<stage>_<variant>", ", ".join(STAGES)]),
        ("graph", ["<stage>_<variant>"]),
        ("graph_absorb.__init__", ["There is no plugin"]),
        ("os.system", ["not a plugin name"]),
    ],
)
def test_a_name_that_is_not_installed(name: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        find_plugin(name)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "pip install" not in str(caught.value)


def test_a_plugin_whose_folder_is_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins" / "graph_ring").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        find_plugin("graph_ring")
    assert "pip install" not in str(caught.value)  # an empty folder is no plugin
    (tmp_path / "plugins" / "graph_ring" / "pyproject.toml").touch()
    with pytest.raises(UserError, match=r"It exists here but is not installed: pip install -e plugins/graph_ring$"):
        find_plugin("graph_ring")
    monkeypatch.setattr(doctor, "installed", dict)
    found = {finding.subject: finding.remedy for finding in doctor.plugin_findings()}
    assert found["graph"] == "pip install -e plugins/graph_ring"
    assert found["noise"].startswith("pip install -e ")  # beside the package


FAULTS = {
    "a missing method": (GOOD.replace("def time(", "def elsewhen("), "lacks the methods time"),
    "an own signature": (GOOD.replace("forward(self, t)", "forward(self, t, extra=1)"), "differs from its contract"),
    "another name": (
        GOOD.replace("time(self, sigma)", "time(self, level)").replace("sigma.d", "level.d"),
        "differs from",
    ),
    "any keywords": (
        GOOD.replace("*, speed: float = 1.0", "**arguments: float").replace("= speed", "= 1"),
        "keyword-only",
    ),
    "positions": (GOOD.replace("*, speed", "speed"), "keyword-only"),
    "no types": (GOOD.replace("speed: float = 1.0", "speed=1.0"), "has no type for its argument 'speed'"),
    "another class": (GOOD.replace("return Toy", "return dict"), "must return a subclass of Noise"),
    "no class": (GOOD.replace("return Toy", "return Toy()"), "must return a subclass of Noise"),
    "no hook": (GOOD.replace("@hookimpl", ""), "must implement the hook sedd_noise and no other; it implements none"),
    "another hook": (GOOD.replace("def sedd_noise", "def sedd_graph"), "must implement the hook sedd_noise"),
    "an unknown hook": (GOOD + "\n@hookimpl\ndef sedd_nois():\n    pass\n", "and no other"),
    "a value for a method": (
        GOOD.replace("    def time(self, sigma):", "    time = 3\n    def other(self, sigma):"),
        "must be a method",
    ),
    "arguments": (GOOD.replace("def sedd_noise():", "def sedd_noise(config):"), "config"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plugin_that_breaks_its_contract_is_refused(toys: Distributions, fault: str) -> None:
    source, words = FAULTS[fault]
    assert source != GOOD
    toys.add("faulty", {"noise_faulty": source})
    with pytest.raises(UserError, match=words) as caught:
        plugin("noise_faulty")
    assert "pip uninstall faulty" in str(caught.value)


SAMPLER = """
from sedd_core import hookimpl
from sedd_core.stages import FactorizedSampler

class Toy(FactorizedSampler):
    def step_weights(self, x, score, step, graph):
        return None

@hookimpl
def sedd_sampler():
    return Toy
"""
DATA = """
from sedd_core import hookimpl
from sedd_core.stages import Data

class Toy(Data):
    length = 8
    def __init__(self) -> None: ...
    def describe(self): ...
    def vocab_size(self): ...
    def codec(self): ...
    def split(self, name): ...
    def fingerprint(self): ...

@hookimpl
def sedd_data():
    return Toy
"""
METHOD = "    def title(self):\n        return 'toy'\n"
MORE_FAULTS = {
    "a method of a more special contract": (
        "sampler",
        SAMPLER.replace("score, step,", "step, score,"),
        r"Toy.step_weights\(self, x, step, score, graph\) differs from its contract, step_weights\(self, ",
    ),
    "a method for a property": (
        "data",
        DATA.replace("    def desc", f"{METHOD}    def desc"),
        "Toy.title is a method; its contract has a property: put @property before it",
    ),
    "a method for a value": (
        "data",
        DATA.replace("    length = 8", "    def length(self): ..."),
        "Toy.length is a method; its contract has a value",
    ),
    "a method for a default": (
        "sampler",
        SAMPLER.replace("    def step", "    def order(self): ...\n    def step"),
        "Toy.order is a method; its contract has a value",
    ),
}


@pytest.mark.parametrize("fault", MORE_FAULTS)
def test_members_of_another_kind_or_signature_are_refused(toys: Distributions, fault: str) -> None:
    stage, source, words = MORE_FAULTS[fault]
    toys.add("faulty", {f"{stage}_faulty": source})
    with pytest.raises(UserError, match=words):
        plugin(f"{stage}_faulty")


def test_a_property_may_be_a_property_or_a_value(toys: Distributions) -> None:
    toys.add("property", {"data_property": DATA.replace("    def desc", f"    @property\n{METHOD}    def desc")})
    toys.add("value", {"data_value": DATA.replace("    length = 8", "    length = 8\n    title = 'toy'")})
    assert plugin("data_property")().title == plugin("data_value")().title == "toy"


def test_every_stage_has_a_contract() -> None:
    assert list(contracts()) == list(STAGES)
    assert all(inspect.isabstract(contract) for contract in contracts().values())


def test_a_plugin_may_have_further_names(toys: Distributions) -> None:
    """Entry points whose module has the plugin's own name, which records have."""
    toys.add("somebodys-noise", {"noise_toy": GOOD})
    points = toys.folder / "somebodys_noise-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "noise_game = noise_toy\n")
    assert plugin("noise_game") is plugin("noise_toy")
    assert plugins.name_of(plugin("noise_game")) == "noise_toy"
    assert find_plugin("noise_game").name == "noise_toy"
