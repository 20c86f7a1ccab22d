"""Protocols: every value has a source, every file composes a run, and what is unverified says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sedd_core import UserError, plugin
from sedd_core.data import PackedSequences
from sedd_core.evaluation.facts import facts_of
from sedd_core.evaluation.protocol import FOLDER, protocol_names, read_protocol
from sedd_core.evaluation.protocol_report import report_protocol
from sedd_core.evaluation.report import UNITS
from sedd_core.record import Figure
from sedd_core.testing import check_evaluator

NAMES = ("sedd_reconstructed", "radd", "mdlm_paper", "duo", "bd3lm_owt", "gidd512", "lm1b", "lm1b_wrap", "text8")


def test_all_are_there() -> None:
    assert protocol_names() == sorted([*NAMES, "default"])


@pytest.mark.parametrize("name", [*NAMES, "default"])
def test_every_value_has_a_source(name: str) -> None:
    """And none is from memory: such values bear [M] where they were collected, and are never stored."""
    protocol = read_protocol(name)
    assert protocol.version >= 1
    for table in ("data", "evaluator", "splits"):
        for setting in set(getattr(protocol, table)) - {"plugin"}:
            assert protocol.source_of(table, setting), f"{table}.{setting} of {name} has no source"
    assert all(one.source and one.unit in UNITS and one.value > 0 for one in protocol.published)
    assert len({(one.model, one.set, one.unit, one.source) for one in protocol.published}) == len(protocol.published)
    assert "[M]" not in (FOLDER / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", [*NAMES, "default"])
def test_every_protocol_makes_its_data_and_its_evaluator(name: str) -> None:
    protocol = read_protocol(name)
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in protocol.evaluator.items()}
    evaluator = plugin(str(lists.pop("plugin")))(**lists, protocol=name)
    assert evaluator.protocol.title == f"{name} {protocol.version}"
    data = dict(protocol.data)
    made = plugin(str(data.pop("plugin")))(name="text8" if name == "text8" else "ptb", **data)
    assert made.length == data["length"]


CONFORMANCE = {
    "mdlm_paper": ("absorb", "loglinear", {}),
    "gidd512": ("gidd", "gidd", {"batch": 4}),
    "radd": ("absorb", "loglinear", {"repeats": 8}),
}
"""Protocols whose estimator is stated over batches; the kit's sets have 3 and 25 sequences."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFORMANCE)
def test_conformance(name: str) -> None:
    graph, noise, changes = CONFORMANCE[name]
    settings = {
        key: tuple(value) if isinstance(value, list) else value for key, value in read_protocol(name).evaluator.items()
    }
    evaluator = plugin(str(settings.pop("plugin")))(**(settings | {"protocol": name, "batch_size": 5} | changes))
    check_evaluator(evaluator, plugin(f"graph_{graph}")(vocab_size=4), plugin(f"noise_{noise}")())


def test_published_figures_stand_beside_ours() -> None:
    sequences = PackedSequences(torch.arange(60), 6)
    figures = [
        Figure("bound", 60.5, "perplexity", 0.5, "lambada", 10),
        Figure("bound", 4.1, "nats/token", 0.1, "lambada", 10),
    ]
    text = report_protocol(read_protocol("mdlm_paper"), "lambada", sequences, figures)
    assert "protocol mdlm_paper 1: MDLM's zero-shot perplexity" in text
    assert "published precision: bf16 autocast in the blocks" in text
    assert "NOT the set of lambada_test.jsonl, computed here" in text
    assert "this run\tperplexity\t60.5000 ± 0.5000\t" in text
    assert "MDLM\tperplexity\t47.52\tas published, github.com/kuleshov-group/mdlm issue 29" in text
    assert "unverified settings of the protocol: data.group" in text


def test_a_set_is_compared_with_the_protocols(tmp_path: Path) -> None:
    sequences = PackedSequences(torch.arange(60), 6)
    known = facts_of(sequences).sha256
    assert "unverified: the protocol states no hash" in report_protocol(read_protocol("default"), "abc", sequences, [])
    for sha256, words in ((known, "as in a test"), ("0" * 64, "NOT the set of a test (60 tokens)")):
        own = tmp_path / "own.toml"
        table = f'\n[sets.abc]\ntokens = 60\nsha256 = "{sha256}"\nsource = "a test"\n'
        own.write_text((FOLDER / "default.toml").read_text() + table)
        assert words in report_protocol(read_protocol(str(own)), "abc", sequences, [])


FAULTS = {
    "an unknown method": ('method = "bound"', 'method = "guess"', "has method = 'guess'; there is bound"),
    "no method": ('method = "bound"', "", "has method = None; there is bound"),
    "damaged": ("[data]", "[data", "cannot be read"),
    "an unknown key": ("version = 1", "version = 1\nedition = 2", "is not in the form of the others"),
    "no plugin": ('plugin = "data_benchmark"', "", r"states no plugin in \[data\]"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_faulty_protocol_is_one_message(what: str, tmp_path: Path) -> None:
    """An unknown method is the only message, whatever else is wrong."""
    old, new, words = FAULTS[what]
    own = tmp_path / "own.toml"
    text = (FOLDER / "default.toml").read_text().replace(old, new)
    own.write_text(text.replace('estimator = "auto"', 'estimator = "none"') if "method" in what else text)
    with pytest.raises(UserError, match=words):
        read_protocol(str(own))


def test_a_misspelled_name_is_suggested() -> None:
    with pytest.raises(UserError, match="Did you mean 'duo'"):
        read_protocol("dou")
