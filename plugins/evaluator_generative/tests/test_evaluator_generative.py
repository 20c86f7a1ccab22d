"""Quality of samples: beside transformers' own loss, hand-made texts, and mauve-text's own function."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
from evaluator_generative import Generative, judge_of, measures
from evaluator_generative.judge import Judge, Scores
from evaluator_generative.measures import (
    bootstrap,
    distinct,
    entropy,
    mean_of_sequences,
    pooled_to_first_end,
    ratio,
    repetition,
)
from evaluator_generative.report import figures_of, warnings
from evaluator_generative.similarity import mauve
from evaluator_generative.texts import Text, tokens_of
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sedd_core import UserError, plugin
from sedd_core.testing import check_evaluator
from sedd_core.text import character_codec

LETTERS = "abcd"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random GPT-2 of characters, as a folder."""
    folder = tmp_path_factory.mktemp("judge")
    codec = character_codec(LETTERS)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=codec.tokenizer)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=codec.vocab_size, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    judge_of.cache_clear()
    return str(folder)


def scores(nats: list[float], ends: list[bool] | None = None) -> Scores:
    return Scores(torch.tensor(nats).double(), torch.tensor(ends or [False] * len(nats)))


def test_a_perplexity_is_that_of_transformers(judge: str) -> None:
    loaded = Judge(judge, torch.device("cpu"))
    text = "abcadbcadd"
    ids = loaded.tokens(text, 1024)
    with torch.no_grad():
        loss = GPT2LMHeadModel.from_pretrained(judge)(ids[None], labels=ids[None]).loss.item()
    found = loaded.score(ids).nats
    assert len(found) == len(text) - 1
    assert found.mean().item() == pytest.approx(loss, abs=1e-4)
    assert len(loaded.tokens("abcd" * 20, 7)) == 7
    assert len(loaded.tokens("abcd" * 20, 1024)) == 32  # what the judge reads
    assert len(loaded.score(ids[:1]).nats) == 0


def test_the_definitions_on_hand_made_scores() -> None:
    """Two texts of 2 and 3 tokens; of the second, what follows the first end does not count for MDLM but its ends."""
    texts = [scores([1.0, 3.0]), scores([2.0, 4.0, 9.0], [False, True, True])]
    assert ratio(mean_of_sequences(texts), exponent=False) == pytest.approx((math.exp(2) + math.exp(5)) / 2)
    assert ratio(pooled_to_first_end(texts), exponent=True) == pytest.approx(math.exp((1 + 3 + 2 + 4) / 4))


def test_entropy_diversity_and_repetition() -> None:
    assert entropy([1, 1, 2, 3]) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    assert distinct([[1, 1, 2], [1, 1]], 2) == pytest.approx(2 / 3)
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4], 4) == (1.0, 5.0)
    assert math.isnan(distinct([[1]], 2))


def test_the_bootstrap_error_of_a_mean_is_the_known_one() -> None:
    """1000 resamples know a standard error to 2.3 %: 4 of these."""
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.stack([values, torch.ones(50)], 1)
    error, low, high = bootstrap(rows, lambda r: ratio(r, exponent=False), 0)
    exact = (values.std(correction=0) / math.sqrt(50)).item()
    assert error == pytest.approx(exact, rel=0.1)
    assert high - low == pytest.approx(2 * 1.96 * exact, rel=0.2)


def test_an_interval_holds_its_figure_where_resamples_are_biased() -> None:
    texts = [Text(i, [3 * i, 3 * i + 1, 3 * i + 2], scores([1.0] * 3), None) for i in range(20)]
    for figure, (low, high) in figures_of(texts, ("sedd", "mdlm", "gidd"), 0):
        assert low - 1e-9 <= figure.value <= high + 1e-9


def test_repeating_samples_are_flagged() -> None:
    real = [Text(i, [0, 1, 2, 3, i % 4], scores([1.0] * 4), None) for i in range(4)]
    made = [Text(i, [0, 0, 0, 0, i % 4], scores([0.1] * 4), None) for i in range(4)]
    told, truth = (figures_of(part, ("sedd",), 0) for part in (made, real))
    assert "Low entropy" in warnings(told, truth)[0]
    assert warnings(truth, truth) == []


def test_conformance(judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds differ by what 24 samples of two tokens explain; few resamples know it to a fifth."""
    monkeypatch.setattr(measures, "RESAMPLES", 50)
    evaluator = Generative(judge=judge, sampler=plugin("sampler_analytic")(), steps=(2,), count=24, batch_size=5)
    check_evaluator(evaluator, plugin("graph_absorb")(vocab_size=4), plugin("noise_loglinear")())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 1}, "count must be at least 2"),
        ({"steps": ()}, "steps must be numbers of at least 1"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generative(judge="gpt2", sampler=plugin("sampler_analytic")(), **arguments)


def test_no_judge_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"The judge .*nothing cannot be loaded: .* Set judge to a causal language model"
    ):
        Judge(str(tmp_path / "nothing"), torch.device("cpu"))


def test_samples_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("abc", "da")))
    codec = character_codec(LETTERS)
    assert [codec.decode(row) for row in tokens_of(str(file), codec)] == ["abc", "da"]
    for content, message in (("no json\n", "cannot be read as samples"), ('{"text": "a"}\n', "has 1 texts")):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            tokens_of(str(file), codec)


@pytest.mark.skipif(importlib.util.find_spec("mauve") is None, reason="mauve-text is not installed")
def test_mauve_is_that_of_its_package() -> None:
    from mauve import compute_mauve  # pyright: ignore

    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(40, 4, generator=generator).double() + shift for shift in (0.0, 0.7))
    figure, buckets = mauve(list(p), list(q), 3)
    own = [
        compute_mauve(p_features=p.numpy(), q_features=q.numpy(), num_buckets=4, seed=15 + i, verbose=False).mauve
        for i in range(5)
    ]
    assert buckets == 4
    assert figure.value == pytest.approx(sum(own) / 5)
    same, _ = mauve(list(p), list(p), 3)
    assert same.value > figure.value


@pytest.mark.skipif(importlib.util.find_spec("mauve") is not None, reason="mauve-text is installed")
def test_mauve_without_its_package_is_one_message() -> None:
    with pytest.raises(UserError, match=r"pip install 'sedd-evaluator-generative\[mauve\]'"):
        mauve([torch.zeros(2)] * 2, [torch.zeros(2)] * 2, 0)
