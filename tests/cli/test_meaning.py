"""What `--fdl_help` says of each setting: every one has a sentence of its own, which stands alone."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest

import sedd_core.runs
from sedd_core import plugin
from sedd_core.cli.meaning import first_sentence, meanings
from sedd_core.record import recordable_classes
from sedd_core.registry.installed import installed

CLASSES = {**recordable_classes(), **{name: plugin(name) for name in installed()}}
assert "Train" in CLASSES, sedd_core.runs


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_has_its_own_sentence(name: str) -> None:
    cls = CLASSES[name]
    parameters, about = list(inspect.signature(cls).parameters), meanings(cls)
    assert not [parameter for parameter in parameters if parameter not in about]
    sentences = [about[parameter] for parameter in parameters]
    assert len(set(sentences)) == len(sentences)
    for parameter, sentence in zip(parameters, sentences, strict=True):
        assert sentence[0].isupper(), (parameter, sentence)
        assert sentence.endswith("."), (parameter, sentence)
        assert len(sentence.split()) >= 2 or parameter == sentence.rstrip(".").lower(), (parameter, sentence)
        assert not sentence.startswith(("Of ", "The same", "As ", "See ")), (parameter, sentence)
    assert first_sentence(cls).endswith(".")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings for this test."""

    one: int = 1
    """Number of
    things."""
    two: int = 2


class Stage:
    """A stage for this test.

    Args:
        one: Number of things, which takes
            two lines.
        two: Number of others.

    Raises:
        ValueError: Never.
    """

    def __init__(self, *, one: int, two: int) -> None: ...


class Heir(Stage):
    """A subclass.

    Args:
        two: Number of other things.
    """


def test_meanings_are_read_from_fields_and_sections() -> None:
    assert meanings(Settings) == {"one": "Number of things."}
    assert meanings(Stage) == {"one": "Number of things, which takes two lines.", "two": "Number of others."}
    assert meanings(Heir) == {**meanings(Stage), "two": "Number of other things."}
