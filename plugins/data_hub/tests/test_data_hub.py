"""Data sets and tokenizers of Hugging Face, from local files: no network is needed, and none is asked."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from sedd_core import UserError, plugin
from sedd_core.stages import Data
from sedd_core.testing import check_data
from sedd_core.text.builtin import byte_codec

DOCUMENTS = [f"Document {i} says hello, and goodbye." for i in range(40)]
END = "<|end|>"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Training and validation documents, and a tokenizer with an end-of-text token."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    for name, documents in {"train": DOCUMENTS[:30], "valid": DOCUMENTS[30:]}.items():
        lines = [json.dumps({"text": text, "id": i}) for i, text in enumerate(documents)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    tokenizer = byte_codec().tokenizer
    tokenizer.add_special_tokens([END])
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END}
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def data(folder: Path, **arguments: Any) -> Data:
    defaults = {
        "name": str(folder / "train.jsonl"),
        "valid_name": str(folder / "valid.jsonl"),
        "tokenizer": str(folder / "tokenizer"),
        "vocab": 257,
        "length": 32,
    }
    return plugin("data_hub")(**{**defaults, **arguments})


def read(source: Data) -> None:
    """As a run does."""
    source.codec()
    source.split("train")
    source.split("valid")


def text_of(source: Data, split: str) -> str:
    sequences = source.split(split)
    return "".join(source.codec().decode(row) for row in sequences.batch(torch.arange(len(sequences))).tokens.tolist())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"tokenizer": "char", "vocab": None},
        {"valid_name": None, "valid_split": "train", "valid_documents": 5},
        {"packing": "document", "length": 48},
        {"packing": "document", "length": 48, "padding": "conditioned"},
        {"packing": "document", "length": 20, "padding": "conditioned", "long_documents": "split"},
    ],
    ids=str,
)
def test_conformance(folder: Path, arguments: dict[str, Any]) -> None:
    other = data(
        folder, **{**arguments, "length": 12, "name": str(folder / "valid.jsonl"), "valid_name": "train.jsonl"}
    )
    check_data(lambda: data(folder, **arguments), other=other, repeats=arguments.get("long_documents") == "split")


def test_documents_end_and_are_packed(folder: Path) -> None:
    source = data(folder)
    whole = {"train": DOCUMENTS[:30], "valid": DOCUMENTS[30:]}
    for split, documents in whole.items():
        text = "".join(document + END for document in documents)
        read = text_of(source, split)
        assert text.startswith(read)
        assert len(text) - len(read) < 33 * len(END)
    assert source.codec().vocab_size == 257


def test_the_last_documents_are_held_out_where_there_is_one_split(folder: Path) -> None:
    source = data(folder, valid_name=None, valid_split="train", valid_documents=5)
    assert "Document 24" in text_of(source, "train")
    assert "Document 25" not in text_of(source, "train")
    assert text_of(source, "valid").startswith("Document 25")


@pytest.mark.parametrize("valid_name", [None, "../{}/train.jsonl"])
def test_a_local_file_is_never_validated_on_what_it_trains_on(folder: Path, valid_name: str | None) -> None:
    other = valid_name and str(folder / valid_name.format(folder.name))
    source = data(folder, valid_name=other, valid_documents=5)
    assert "Document 25" not in text_of(source, "train")
    assert text_of(source, "valid").startswith("Document 25")
    assert "its last 5 documents" in source.describe()


def test_a_folder_is_the_same_however_it_is_written(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "train.jsonl").rename(folder / "own" / "train.jsonl")
    source = data(folder, name="openwebtext", train_file="own", valid_name=None, valid_file="./own/")
    assert "its last 1,000 documents" in source.describe()
    source = data(folder, name="any/set", train_file="own", valid_name="other/set", valid_file="own")
    assert "validated on set (own)" in source.describe()  # another of its splits


def test_text_files(folder: Path) -> None:
    (folder / "train.txt").write_text("\n".join(DOCUMENTS))
    assert text_of(data(folder, name=str(folder / "train.txt")), "train").startswith(DOCUMENTS[0] + END + DOCUMENTS[1])


def test_a_local_file_in_place_of_the_hub(folder: Path) -> None:
    """The text is detokenized as the data set's own would be."""
    (folder / "wiki.valid.raw").write_text(" = Title = \n\n He said @-@ nothing , twice . \n \n")
    source = data(folder, valid_name="wikitext103", valid_file=str(folder / "wiki.valid.raw"), length=8)
    assert text_of(source, "valid").startswith(f"= Title ={END}He said-nothing, twice.{END}"[:-8])
    assert source.title == "wiki.valid"
    assert f"wikitext103 ({folder}/wiki.valid.raw)" in source.describe()


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ({"name": "wikitext103"}, "wikitext103"),
        ({"name": "openwebtext"}, "openwebtext"),
        ({"name": "wikitext103", "valid_file": "wikitext-2/wiki.test.tokens"}, "wiki.test"),
        ({"name": "wikitext103", "valid_file": "owt/*.jsonl.gz"}, "owt"),
        ({"name": "wikitext103", "valid_file": "owt/part-*.parquet"}, "owt"),
        ({"name": "wikitext103", "config": "wikitext-2-raw-v1"}, "wikitext103_wikitext-2-raw-v1"),
        ({"name": "wikitext103", "valid_split": "test"}, "wikitext103_test"),
        ({"name": "wikitext103", "valid_name": "lambada"}, "lambada"),
        ({"name": "me/mine", "valid_split": "test"}, "mine_test"),
        ({"name": "openwebtext", "train_file": "mine.txt"}, "mine"),
    ],
)
def test_a_title_says_what_was_read(settings: dict, title: str) -> None:
    assert plugin("data_hub")(**settings).title == title


def test_a_file_in_place_of_a_set_of_one_split_is_validated_on_at_its_end(folder: Path) -> None:
    source = data(folder, name="openwebtext", train_file="train.jsonl", valid_name=None, valid_documents=5)
    assert "Document 25" not in text_of(source, "train")
    assert text_of(source, "valid").startswith("Document 25")


def test_a_column_of_ones_own_leaves_a_known_set_its_own(folder: Path) -> None:
    lines = [json.dumps({"content": text}) for text in DOCUMENTS[:30]]
    (folder / "train.jsonl").write_text("\n".join(lines))
    source = data(folder, text_field="content", valid_name="wikitext103", valid_file=str(folder / "valid.jsonl"))
    assert text_of(source, "train").startswith(DOCUMENTS[0] + END)
    assert text_of(source, "valid").startswith(DOCUMENTS[30] + END)


def test_several_files_by_a_pattern(folder: Path) -> None:
    (folder / "train-2.jsonl").write_text(json.dumps({"text": DOCUMENTS[39], "id": 39}))
    source = data(folder, name="any/set", train_file=str(folder / "train*.jsonl"), length=8)
    assert len(source.split("train")) > len(data(folder, length=8).split("train"))
    assert "Document 39" in text_of(source, "train")


def test_a_folder_that_datasets_saved(folder: Path) -> None:
    from datasets import Dataset, DatasetDict

    sets = {
        "train": Dataset.from_dict({"text": DOCUMENTS[:30]}),
        "validation": Dataset.from_dict({"text": ["a" * 50]}),
    }
    DatasetDict(sets).save_to_disk(str(folder / "saved"))  # pyright: ignore[reportArgumentType]
    source = data(folder, name=str(folder / "saved"), valid_name=None)
    assert text_of(source, "train") == text_of(data(folder), "train")
    assert text_of(source, "valid") == "a" * 32


def test_only_so_many_documents_are_read(folder: Path) -> None:
    (folder / "train.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in DOCUMENTS))
    source = data(folder, limit=10)
    assert "Document 9 " in text_of(source, "train")
    assert "Document 10" not in text_of(source, "train")
    source = data(folder, limit=10, valid_documents=2, valid_name=None, length=16)
    assert "Document 7 " in text_of(source, "train")
    assert "Document 8 " not in text_of(source, "train")
    assert text_of(source, "valid").startswith("Document 8 ")


def test_held_out_documents_are_of_those_that_are_there(folder: Path) -> None:
    """A limit beyond the end: both splits as without one."""
    parts = {"valid_name": None, "valid_documents": 4, "length": 8}
    limited, whole = data(folder, limit=1000, **parts), data(folder, **parts)
    for split in ("train", "valid"):
        assert text_of(limited, split) == text_of(whole, split)
    assert text_of(limited, "valid").startswith("Document 26 ")


def test_documents_without_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their place is named by file, and counted from the start where the end is held out; or they are skipped."""
    lines = [json.dumps({"text": text}) for text in DOCUMENTS[:6]]
    (folder / "nulls-1.jsonl").write_text("\n".join(lines[:3]))
    (folder / "nulls-2.jsonl").write_text("\n".join([*lines[3:], '{"text": null}', '{"text": "at the end"}']))
    parts = {"name": "nulls-*.jsonl", "valid_name": None, "valid_documents": 3, "length": 8}
    for limit in (None, 100):
        with pytest.raises(UserError, match=r"document 4 of nulls-2\.jsonl contains None"):
            data(folder, limit=limit, **parts).split("valid")
    source = data(folder, skip_null=True, **parts)
    text = text_of(source, "valid")
    assert text.startswith(f"{DOCUMENTS[5]}{END}at t")
    assert "(nulls-*.jsonl): 1 of 3 documents are null and were skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wiki.raw.jsonl", "JSON lines, texts in 'text'"),
        ("wiki.json.txt", "plain text, one document per line"),
        ("wiki.txt.JSONL", "JSON lines, texts in 'text'"),
    ],
)
def test_the_last_ending_says_how_a_file_is_read(
    folder: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    source = data(folder, name=name, valid_name=None, valid_documents=5)
    assert text_of(source, "train").startswith(DOCUMENTS[0] if "JSON" in kind else '{"text"')
    source.split("valid")
    assert source.title == name.rpartition(".")[0]
    assert capsys.readouterr().out.count(f"{name}: read as {kind}\n") == 1


@pytest.mark.parametrize("ending", ["txt", "jsonl", "csv", "txt.gz"])
def test_a_byte_order_mark_is_no_text(folder: Path, ending: str) -> None:
    lines = [json.dumps({"text": text}) if ending == "jsonl" else text.replace(",", "") for text in DOCUMENTS[:9]]
    content = "\n".join([*(["text"] if ending == "csv" else []), *lines])
    write = gzip.compress if ending.endswith("gz") else bytes
    (folder / f"marked.{ending}").write_bytes(write(content.encode("utf-8-sig")))
    (folder / f"plain.{ending}").write_bytes(write(content.encode()))
    marked, plain = (data(folder, name="any/set", train_file=f"{n}.{ending}") for n in ("marked", "plain"))
    assert text_of(marked, "train") == text_of(plain, "train")


def test_a_closed_alphabet(folder: Path) -> None:
    (folder / "train.jsonl").write_text('{"text": "ACGT"}\n' * 40)
    (folder / "valid.jsonl").write_text('{"text": "GATTACA"}\n' * 9)
    closed = {"tokenizer": "char", "vocab": None, "unknown": False, "length": 8}
    assert data(folder, **closed).codec().vocab_size == 5  # with the end of a document
    assert text_of(data(folder, **closed), "valid").startswith("GATTACA<|endoftext|>G")
    (folder / "valid.jsonl").write_text('{"text": "GATTACA"}\n{"text": ""}\n{"text": "GATN"}\n')
    with pytest.raises(
        UserError, match=r"Document 2 of the valid split \(not .* contains 'N' at character 4.*data\.unknown"
    ):
        data(folder, **closed).split("valid")


def test_blank_documents_are_left_out(folder: Path) -> None:
    lines = [json.dumps({"text": text}) for text in ("", DOCUMENTS[0], "", "", DOCUMENTS[1])]
    (folder / "train.jsonl").write_text("\n".join(lines))
    assert text_of(data(folder), "train").startswith(f"{DOCUMENTS[0]}{END}{DOCUMENTS[1]}"[:64])


def test_a_document_a_sequence(folder: Path) -> None:
    source = data(folder, packing="document", length=40)
    batch = source.split("train").batch(torch.tensor([2, 11]))
    assert batch.loss_mask is None
    assert batch.full_text_mask().sum(-1).tolist() == [len(DOCUMENTS[2]) + 1, len(DOCUMENTS[11]) + 1]
    for row, text, index in zip(batch.tokens, batch.full_text_mask(), (2, 11), strict=True):
        assert source.codec().decode(row[text].tolist()) == DOCUMENTS[index] + END
    given = data(folder, packing="document", padding="conditioned", length=40).split("train")
    assert given.batch(torch.tensor([2, 11])).full_loss_mask().sum(-1).tolist() == [
        len(DOCUMENTS[2]),
        len(DOCUMENTS[11]),
    ]
    pieces = data(folder, packing="document", long_documents="split", length=5).split("train")
    assert len(pieces) == sum(-(-(len(document) + 1) // 5) for document in DOCUMENTS[:30])
    assert data(folder, packing="document", length=5).split("train").batch(torch.tensor([0])).tokens.shape == (1, 5)


def test_a_tokenizers_own_file(folder: Path, tmp_path: Path) -> None:
    """Beside a config that names its end of a document, and as a checkpoint has one, without."""
    file = folder / "tokenizer" / "tokenizer.json"
    first = torch.tensor([0])
    expected = data(folder).split("train").batch(first).tokens.tolist()
    assert data(folder, tokenizer=str(file)).split("train").batch(first).tokens.tolist() == expected
    data(folder, tokenizer="byte").codec().save(tmp_path / "alone.json")
    alone, named = (data(folder, tokenizer=name) for name in (str(tmp_path / "alone.json"), "byte"))
    assert alone.codec().difference(named.codec()) is None
    batches = [source.split("train").batch(first).tokens.tolist() for source in (alone, named)]
    assert batches[0] == batches[1]


def test_the_end_of_a_document_is_named_where_a_tokenizer_says_none(folder: Path) -> None:
    byte_codec().save(folder / "endless.json")
    with pytest.raises(UserError, match=r"endless.json has no end-of-text token.*data\.end_token"):
        data(folder, tokenizer="endless.json", vocab=None).codec()
    with pytest.raises(UserError, match=r"endless.json has no token '<eod>'"):
        data(folder, tokenizer="endless.json", vocab=None, end_token="<eod>").codec()
    for settings in ({"tokenizer": "endless.json", "vocab": 256}, {"tokenizer": "char", "vocab": None}):
        end = "|" if settings["vocab"] else "D"
        source = data(folder, end_token=end, **settings)
        assert text_of(source, "train").startswith(f"{DOCUMENTS[0]}{end}{DOCUMENTS[1]}{end}")
        assert text_of(source, "valid").startswith(f"{DOCUMENTS[30]}{end}")
        assert source.fingerprint() != data(folder, end_token=".", **settings).fingerprint()


def test_truncation_and_padding_of_a_file_are_switched_off(folder: Path) -> None:
    """All tokens of all documents; a file that truncates to 8 gave a fifth of them."""
    whole = data(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    shutil.copytree(folder / "tokenizer", folder / "other")
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16)
    for file in ("other/tokenizer.json", "other.json"):
        tokenizer.save(str(folder / file))
    for source in (data(folder, tokenizer="other"), data(folder, tokenizer="other.json", end_token=END)):
        assert source.corpus("train").tokens.tolist() == whole.corpus("train").tokens.tolist()
        assert source.fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(("tokenizer", "size"), [("byte", 257), ("char", len(set("".join(DOCUMENTS[:30]))) + 2)])
def test_bytes_and_characters(folder: Path, tokenizer: str, size: int) -> None:
    source = data(folder, tokenizer=tokenizer, vocab=None)
    assert source.vocab_size() is None
    assert source.codec().vocab_size == size
    assert text_of(source, "train").startswith(DOCUMENTS[0] + "<|endoftext|>")
    assert text_of(source, "valid").startswith(DOCUMENTS[30] + "<|endoftext|>")
    assert data(folder, tokenizer=tokenizer, vocab=None, length=16).codec().vocab_size == size


def test_a_split_of_its_own_needs_no_other(folder: Path) -> None:
    """A set to validate on alone: its training split is not asked for."""
    (folder / "lambada.jsonl").write_text(json.dumps({"text": "“Well,” she said, ‘no.’ " * 4}))
    source = data(folder, name="lambada", valid_name=None, valid_file=str(folder / "lambada.jsonl"))
    assert text_of(source, "valid").startswith('"Well," she said, ')
    assert source.codec().vocab_size == 257


def test_the_fingerprint_changes_with_data_and_settings(folder: Path) -> None:
    one = data(folder).fingerprint()
    assert one == data(folder).fingerprint()
    assert one != data(folder, valid_name=None, valid_split="train", valid_documents=5).fingerprint()


def test_the_same_file_put_right_or_read_otherwise_is_other_tokens(folder: Path) -> None:
    """The cache tells apart what the name and the ending of a file make of its content."""
    for ending in ("txt", "csv"):
        (folder / f"wiki.{ending}").write_text("text\n" + "He said @-@ nothing .\n" * 10)
    as_it_is = text_of(data(folder, name="any/set", train_file="wiki.txt"), "train")
    put_right = text_of(data(folder, name="wikitext2", train_file="wiki.txt"), "train")
    table = text_of(data(folder, name="any/set", train_file="wiki.csv"), "train")
    assert as_it_is.startswith(f"text{END}He said @-@ nothing .{END}")
    assert put_right.startswith(f"text{END}He said-nothing.{END}")
    assert table.startswith(f"He said @-@ nothing .{END}")


def test_the_fingerprint_changes_with_the_rules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_hub import presets

    before = {name: data(folder, name=name, train_file="train.jsonl").fingerprint() for name in ("lm1b", "any/set")}
    monkeypatch.setattr(presets, "content_hash", lambda path: "of other rules")
    assert data(folder, name="lm1b", train_file="train.jsonl").fingerprint() != before["lm1b"]
    assert data(folder, name="any/set", train_file="train.jsonl").fingerprint() == before["any/set"]


def test_the_fingerprint_changes_with_the_end_of_text(folder: Path) -> None:
    tokenizer = byte_codec().tokenizer
    tokenizer.add_special_tokens([END, "<|pad|>"])
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    prints = set()
    for end, pad in ((END, "<|pad|>"), ("<|pad|>", END)):
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": pad}
        (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
        prints.add(data(folder, vocab=258).fingerprint())
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read as json"),
        ('{"text": "a"}\n{"text": \n', "cannot be read as json"),
        ('{"text": "a"}\n{"text": null}\n', r"document 2 of .*train.jsonl contains None, .*data\.skip_null=true"),
        ('{"text": 1}\n', "contains 1, which is not text"),
    ],
)
def test_a_file_that_is_no_text(folder: Path, content: str, words: str) -> None:
    (folder / "train.jsonl").write_text(content)
    with pytest.raises(UserError, match=words):
        data(folder).split("train")


def test_a_split_that_is_not_there(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "train.jsonl").rename(folder / "own" / "train.jsonl")
    with pytest.raises(UserError, match=r"no split 'validation'.*data\.valid_split the same as data\.train_split"):
        read(data(folder, name=str(folder / "own"), valid_name=None))


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a file that is not there": ({"name": "nowhere.jsonl"}, ["no file nowhere.jsonl"]),
    "a data set without the hub": (
        {"name": "openwebtext"},
        [
            "'openwebtext' (Skylion007/openwebtext, split train) does not exist locally",
            "hf download",
            "set data.train_file",
        ],
    ),
    "other data without the hub": (
        {"valid_name": "ptb"},
        ["(ptb-text-only/ptb_text_only, split validation)", "--revision refs/convert/parquet", "set data.valid_file"],
    ),
    "a stream without the hub": (
        {"name": "openwebtext", "limit": 5000},
        ["does not exist locally", "set data.train_file"],
    ),
    "a tokenizer without the hub": (
        {"tokenizer": "gpt2"},
        ["'gpt2' does not exist locally", "vocab.txt", "huggingface.co/gpt2"],
    ),
    "no tokenizer at a path": ({"tokenizer": "./nowhere"}, ["There is no tokenizer at ./nowhere", "merges.txt"]),
    "a pattern of no file": ({"train_file": "nowhere/*.jsonl"}, ["no file nowhere/*.jsonl"]),
    "a folder of no data": ({"name": "tokenizer"}, ["tokenizer cannot be read as a data set"]),
    "nothing to train on": ({"name": "lambada"}, ["lambada has no training text", "data.train_file"]),
    "a file on both sides": (
        {"train_file": "*.jsonl", "valid_file": "valid.jsonl"},
        ["valid.jsonl is in both training and validation data", "hold out"],
    ),
    "only to validate on": (
        {"name": "lambada", "valid_name": None, "train_file": "train.jsonl"},
        ["(EleutherAI/lambada_openai default, split test)", "set data.valid_file"],
    ),
    "a broken stream": ({"name": "broken.jsonl", "limit": 5000}, ["broken.jsonl cannot be read to its end", "JSON"]),
    "another size": ({"vocab": 50257}, ["has 257 tokens, not 50257", "set data.vocab"]),
    "another column": ({"text_field": "body"}, ["no column 'body'", "text", "set data.text_field"]),
    "too few documents": (
        {"valid_name": None, "valid_split": "train"},
        ["has 30 documents", "Lower data.valid_documents"],
    ),
    "more held out than streamed": ({"limit": 1000, "valid_name": None}, ["limit must be above valid_documents"]),
    "no text8 here": ({"name": "text8"}, ["data=text8"]),
    "padding of packed text": ({"padding": "conditioned"}, ["need packing='document'"]),
    "too long": ({"length": 100_000}, ["less than one sequence", "lower data.length"]),
    "too long, and held out": (
        {"length": 100, "valid_name": None, "limit": 20, "valid_documents": 2},
        ["valid split", "raise data.valid_documents (2) or data.limit"],
    ),
    "fewer than are held out": (
        {"valid_name": None, "limit": 100, "valid_documents": 50},
        ["has 30 documents (of data.limit=100), but the last 50", "Lower data.valid_documents"],
    ),
    "another alphabet for pieces": ({"unknown": False}, ["tokenizer='char'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said(folder: Path, mistake: str) -> None:
    arguments, words = MISTAKES[mistake]
    (folder / "broken.jsonl").write_text(f'{{"text": "{"a" * 1000}"}}\n' * 2000 + '{"text": \n')
    with pytest.raises((UserError, ValueError)) as caught:
        read(data(folder, **arguments))
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


def test_constructing_needs_neither_files_nor_network() -> None:
    source = plugin("data_hub")(name="openwebtext", valid_name="wikitext")
    assert source.vocab_size() == 50257
    assert "openwebtext" in source.describe()


def test_bert_tokens_of_lm1b(shared: Path) -> None:
    """One sentence per sequence, padding counted."""
    file = str(shared / "data" / "lm1b" / "heldout.sections10-11.tokens.gz")
    source = plugin("data_hub")(
        name="lm1b",
        **{"train_file": file, "valid_documents": 100, "packing": "document", "length": 128},
        **{"tokenizer": str(shared / "data" / "tokenizers" / "bert-base-uncased"), "vocab": 30522},
        valid_name="lm1b",
        valid_file=file,
    )
    train = source.split("train")
    assert len(train) == 12216 - 100
    batch = train.batch(torch.arange(1000))
    assert batch.loss_mask is None
    assert 20 < batch.full_text_mask().sum(-1).double().mean() < 40
    last = batch.full_text_mask().sum(-1) - 1
    short = last < 127
    assert (batch.tokens.gather(1, last[:, None])[short] == 102).all()  # [SEP]


def test_gpt2_tokens_of_openwebtext(shared: Path, tmp_path: Path) -> None:
    source = plugin("data_hub")(
        name=str(shared / "data" / "openwebtext" / "openwebtext.valid.jsonl.gz"),
        valid_split="train",
        valid_documents=5,
        tokenizer=str(shared / "data" / "tokenizers" / "gpt2"),
        length=128,
    )
    assert source.codec().encode("Hello world") == [15496, 995]
    tokens = source.split("train").batch(torch.arange(100)).tokens
    assert (tokens == 50256).any()
    assert tokens.max() == 50256
