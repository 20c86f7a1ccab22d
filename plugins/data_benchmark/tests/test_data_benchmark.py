"""Rows, detokenizers and wrappings of published evaluations, on lines invented or read here, and on real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from data_benchmark import detokenize
from data_benchmark.sets import BENCHMARKS, rows_of

from sedd_core import UserError, plugin

LINES = {
    "wikitext": [
        (" = = Early life = = \n", " == Early life ==\n"),
        (' He said " yes " ( 1 @,@ 200 @-@ odd ) . \n', ' He said "yes" (1,200-odd).\n'),
        (
            " The Joneses ' dog 's tail , in the 1960s and ' 70s , N m \n",
            " The Joneses'dog's tail, in the 1960s and ' 70s, 1 m\n",
        ),
        (" 25 ° C at { x } [ y ] ; so : a ! b ? c . \n", " 25°C at {x} [y]; so: a! b? c.\n"),
        ("", ""),
    ],
    "ptb": [
        ("mr. <unk> is n't N N years old the company 's", "mr. ? isn't 1 1 years old the company's"),
        ("$ N million # N for the workers ' union and\\/or N", "$1 million #1 for the workers' union and/or N"),
    ],
    "lm1b": [
        ("It 's at http : / / a.com , he said . ", "It's at http://a.com, he said. "),
        ('" Why ? " ( no ) $ 5 / £ 6 !', '"Why?" (no) $5/£6!'),
        ("She said : ' go [ now ] ' .", "She said: 'go [now]' ."),
    ],
    "lambada": [(" “ So ” it ’s. \n", '\n" So " it ’s.')],
    "papers": [("we show @xmath0 ( fig . 1 ) , as ' s", "we show @xmath0 (fig. 1), as' s")],
}


@pytest.mark.parametrize("name", LINES)
def test_published_detokenizers(name: str) -> None:
    """Their faults too: years keep their blank, a plural's apostrophe is joined to the next word."""
    rule = getattr(detokenize, name)
    for text, expected in LINES[name]:
        assert rule(text) == expected


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Any]:
    """A set of five rows, one of them blank, and a tokenizer of characters with special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {token: index for index, token in enumerate(["[CLS]", "[SEP]", "[PAD]", *"abcdefg"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[PAD]"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "rows.txt").write_text("abc\nde\n\nfgabc\na\n")
    return {"name": "ag_news", "file": str(tmp_path / "rows.txt"), "tokenizer": str(tmp_path / "tokenizer.json")}


def sequences(words: dict[str, Any], **settings: Any) -> list[str]:
    data = plugin("data_benchmark")(**words, end_token="[SEP]", **settings)
    split = data.split("valid")
    batch = split.batch(torch.arange(len(split)))
    names = [*"<>_", *"abcdefg"]
    assert batch.tokens.shape[1] == data.length
    return ["".join(names[token] for token in row) for row in batch.tokens.tolist()]


def test_blocks(words: dict[str, Any]) -> None:
    """An end after every row, blank ones too; a group's remainder is dropped."""
    assert sequences(words, length=4) == ["abc>", "de>>", "fgab", "c>a>"]
    assert sequences(words, length=4, inner_eos=False) == ["abcd", "efga"]
    assert sequences(words, length=3, group=2) == ["abc", ">de", ">fg", "abc"]


def test_blocks_between_tokens(words: dict[str, Any]) -> None:
    assert sequences(words, length=6, wrapping="bos_eos") == ["<abc>>", "<de>>>", "<fgab>", "<c>a>>"]
    assert sequences(words, length=6, wrapping="bos_eos", inner_eos=False) == ["<abcd>", "<efga>"]


def test_documents(words: dict[str, Any]) -> None:
    """Cut at the end, which stays; or at a place that the index determines. Padding is noised, and is not text."""
    assert sequences(words, length=6, wrapping="document") == ["<abc>_", "<de>__", "<>____", "<fgab>", "<a>___"]
    data = plugin("data_benchmark")(**words, end_token="[SEP]", length=6, wrapping="document")
    batch = data.split("valid").batch(torch.tensor([0, 2]))
    assert batch.loss_mask is None
    assert batch.full_text_mask().sum(-1).tolist() == [5, 2]
    random = sequences(words, length=6, wrapping="document", crop="random")
    assert random[3] in ("<fgabc", "fgabc>")
    assert random == sequences(words, length=6, wrapping="document", crop="random")


def test_rows_of_files(tmp_path: Path) -> None:
    """Plain text reads as the hub's rows do; the last rows of OpenWebText are counted from the end."""
    (tmp_path / "a.txt").write_text(" = A = \n \n b c \n")
    assert list(rows_of("wikitext2", None, str(tmp_path / "a.txt"))) == [" = A = \n", "", " b c \n"]
    assert list(rows_of("ptb", None, str(tmp_path / "a.txt"))) == ["= A =", "", "b c"]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": f"{i}"}) + "\n" for i in range(3)))
    assert list(rows_of("openwebtext", None, str(tmp_path / "b.jsonl"))) == ["0", "1", "2"]
    assert BENCHMARKS["openwebtext"].last == 100_000


@pytest.mark.parametrize(
    ("settings", "words_of_message"),
    [({"length": 200}, "is empty: 5 documents with"), ({"file": "none.txt"}, "There is no file none.txt")],
)
def test_a_mistake_is_one_message(words: dict[str, Any], settings: dict[str, Any], words_of_message: str) -> None:
    with pytest.raises(UserError, match=words_of_message):
        plugin("data_benchmark")(**(words | {"end_token": "[SEP]"} | settings)).split("valid")


def test_there_is_nothing_to_train_on(words: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is for evaluation alone"):
        plugin("data_benchmark")(**words, end_token="[SEP]").split("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "lamda"}, "name 'lamda' does not exist"),
        ({"name": "text8", "tokenizer": "text8"}, "has no special tokens"),
        ({"name": "ptb", "length": 2}, "length must be at least 3"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plugin("data_benchmark")(**settings)


REAL = {
    "lambada": ("lambada/lambada_test.jsonl.gz", 5153),
    "wikitext2": ("wikitext-2/wiki.test.raw.gz", 4358),
    "ptb": ("ptb/ptb.test.txt.gz", 3761),
    "lm1b": ("lm1b/heldout.sections10-11.tokens.gz", 12216),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_have_the_rows_of_the_hub(name: str, shared: Path) -> None:
    path, count = REAL[name]
    if not (shared / "data" / path).is_file():
        pytest.skip(f"{shared}/data/{path} is not here: it may not be passed on")
    rows = list(rows_of(name, None, str(shared / "data" / path)))
    assert len(rows) == count
    assert all(isinstance(BENCHMARKS[name].detokenize(row), str) for row in rows[:200])
