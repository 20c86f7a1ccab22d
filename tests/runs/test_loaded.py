"""A checkpoint from Python: the samples of a sampling run in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sedd_core
from sedd_core import UserError
from sedd_core.runs.loaded import LoadedModel

RUN = Path(__file__).parents[1] / "stored" / "absorb"


def test_samples_are_drawn_in_one_call() -> None:
    model = sedd_core.load(RUN)
    texts = model.sample("the[[*]]", steps=4, count=2)
    assert len(texts) == 2
    assert all(text.startswith("the") for text in texts)
    assert texts[0] != texts[1]
    assert model.sample("the[[*]]", steps=4, count=1, seed=0) == texts[:1]


def test_a_trajectory_ends_in_the_sample() -> None:
    model = sedd_core.load(RUN)
    shown = model.trajectory("the[[*]]", steps=4)
    assert len(shown.times) == 6
    assert model.parts.codec is not None
    assert model.parts.codec.decode(shown.states[-1, 0].tolist()).startswith(model.sample("the[[*]]", steps=4)[0])


def test_what_is_missing_is_asked_for() -> None:
    model = sedd_core.load(RUN)
    run = model.parts.record.run
    bare = replace(run, args={name: value for name, value in run.args.items() if name not in ("sampler", "data")})
    parts = model.parts._replace(record=replace(model.parts.record, run=bare, length=0), codec=None)
    model = LoadedModel(parts, "somewhere")
    with pytest.raises(UserError, match="somewhere has no tokenizer"):
        model.sample()
    model.parts = parts._replace(codec=sedd_core.load(RUN).parts.codec)
    with pytest.raises(UserError, match="set length="):
        model.sample(sampler="sampler_euler")
    with pytest.raises(UserError, match="records no sampler"):
        model.sample(length=8)
    model.parts = model.parts._replace(record=replace(parts.record, conditioned_on="lengths"))
    with pytest.raises(UserError, match="documents of given lengths: sample it with"):
        model.sample(length=8)
