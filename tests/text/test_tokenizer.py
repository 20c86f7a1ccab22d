"""One reader of tokenizers: every form that one is published in, its end of a document, and no state of its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sedd_core import UserError
from sedd_core.text.builtin import bpe_codec, byte_codec
from sedd_core.text.codec import Codec
from sedd_core.text.tokenizer import FILES, read_ended_tokenizer, read_tokenizer, with_end_token

TEXT = (
    "The cat's 1,234 résumés aren't  at the CAFÉ — 日本語 text[SEP] x<|endoftext|>y\n\tNo: 😀 e\u0301 \u00a0[MASK]ing\r\n"
    * 3
)
BERT = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "The", "cat", "'", "s", "re", "##sum", "##és", "##es"),
    *(
        "aren",
        "t",
        "at",
        "cafe",
        "CAF",
        "##É",
        "日",
        "本",
        "語",
        "日本語",
        "text",
        "no",
        "No",
        ":",
        "e",
        "é",
        "##ing",
    ),
    *("1", "##2", ",", "2", "##3", "##4", "x", "y", "<", ">", "|", "[", "]", "##ext", "##end", "—", "ing", "i"),
]


def write_bert(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(BERT) + "\n", encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def write_gpt2(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    codec = bpe_codec(TEXT + "the cat sat " * 20, 300)
    codec.tokenizer.add_tokens(["<|endoftext|>"])
    content = json.loads(codec.tokenizer.to_str())
    vocabulary = content["model"]["vocab"] | {"<|endoftext|>": 300}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = [" ".join(pair) for pair in content["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def by_transformers(kind: str, folder: Path) -> Callable[[str], list[int]]:
    transformers = pytest.importorskip("transformers")
    tokenizer = getattr(transformers, kind).from_pretrained(str(folder))
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


BERT_CONFIGS: list[dict[str, Any]] = [
    {},
    {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    {"do_lower_case": False, "strip_accents": True},
    {"strip_accents": False},
    {"tokenize_chinese_chars": False, "do_lower_case": True, "strip_accents": None},
]


@pytest.mark.parametrize("config", BERT_CONFIGS, ids=str)
def test_berts_own_file_gives_the_tokens_of_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert", **config)
    expected = by_transformers("BertTokenizer", folder)
    for source in (folder, folder / "vocab.txt"):
        codec = read_tokenizer(source)
        assert codec.encode(TEXT) == expected(TEXT)
        assert codec.vocab_size == len(BERT)
    assert BERT.index("[SEP]") in codec.encode(TEXT)


def test_settings_of_bert_count(tmp_path: Path) -> None:
    """Each of them changes the tokens of the text above: the comparisons are not of one case."""
    results = {tuple(read_tokenizer(write_bert(tmp_path, **config)).encode(TEXT)) for config in BERT_CONFIGS[1:]}
    assert len(results) == 4


@pytest.mark.parametrize("config", [{}, {"add_prefix_space": True, "tokenizer_class": "GPT2Tokenizer"}], ids=str)
def test_gpt2s_own_files_give_the_tokens_of_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    folder = write_gpt2(tmp_path / "gpt2", **config)
    codec = read_tokenizer(folder)
    assert codec.encode(TEXT) == by_transformers("GPT2Tokenizer", folder)(TEXT)
    assert 300 in codec.encode(TEXT)
    assert codec.vocab_size == 301


@pytest.mark.parametrize(("name", "kind"), [("gpt2", "GPT2Tokenizer"), ("bert-base-uncased", "BertTokenizer")])
def test_the_published_files_give_the_tokens_of_transformers(name: str, kind: str, shared: Path) -> None:
    folder = shared / "data" / "tokenizers" / name
    texts = [TEXT, (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")]
    codec, expected = read_tokenizer(folder), by_transformers(kind, folder)
    for text in texts:
        assert codec.encode(text) == expected(text)


def test_the_end_of_a_document(tmp_path: Path) -> None:
    """By its files, else by custom, else as named."""
    bert, gpt2 = write_bert(tmp_path / "bert"), write_gpt2(tmp_path / "gpt2")
    assert read_ended_tokenizer(bert).end == BERT.index("[SEP]")
    assert read_ended_tokenizer(gpt2).end == 300
    assert read_ended_tokenizer(bert, "the").end == BERT.index("the")
    (bert / "special_tokens_map.json").write_text('{"eos_token": {"content": "[PAD]", "lstrip": false}}')
    assert read_ended_tokenizer(bert).end == 0
    write_bert(bert, eos_token=None, sep_token="[CLS]")  # null is no answer: the map's eos stands
    assert read_ended_tokenizer(bert).end == 0
    (bert / "special_tokens_map.json").unlink()
    assert read_ended_tokenizer(bert).end == 2
    write_bert(bert, eos_token="<none of its tokens>")
    assert read_ended_tokenizer(bert).end == BERT.index("[SEP]")


def test_a_tokenizer_without_an_end_is_read_where_none_is_needed(tmp_path: Path) -> None:
    byte_codec().save(tmp_path / "tokenizer.json")
    assert read_tokenizer(tmp_path).encode("a") == read_tokenizer(tmp_path / "tokenizer.json").encode("a") == [97]
    with pytest.raises(UserError, match=r"has no end-of-text token.*data\.end_token="):
        read_ended_tokenizer(tmp_path)
    assert read_ended_tokenizer(tmp_path, "a").end == 97
    with pytest.raises(UserError, match=r"has no token '<eod>': set data\.end_token to one of its 256 tokens"):
        read_ended_tokenizer(tmp_path, "<eod>")


def test_a_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All files that any form needs are asked for."""

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        assert name == "some-one/bert"
        assert set(allow_patterns) == set(FILES)
        return str(write_bert(tmp_path / "cache", do_lower_case=False))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    assert read_tokenizer("some-one/bert").encode("The cat") == [BERT.index("The"), BERT.index("cat")]


def with_file(name: str, content: str, source: Callable[..., Path] = write_bert) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        source(folder)
        (folder / name).write_text(content)
        return folder

    return make


def only(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"\x0a\x0e")
        return folder

    return make


REFUSED: dict[str, tuple[Callable[[Path], Path | str], str]] = {
    "nothing": (
        lambda folder: folder,
        "contains no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt, nor",
    ),
    "sentencepiece": (only("spiece.model"), r"spiece\.model is a SentencePiece model.*save_pretrained"),
    "a sentencepiece file": (lambda folder: only("t.model")(folder) / "t.model", "is a SentencePiece model"),
    "no path": (lambda folder: folder / "none", "There is no tokenizer at"),
    "a path like no id": (lambda folder: "./gpt2", r"There is no tokenizer at \./gpt2 .*: give a tokenizer\.json"),
    "a file like no id": (lambda folder: "own.json", r"There is no tokenizer at own\.json"),
    "a damaged config": (with_file("tokenizer_config.json", "{"), r"tokenizer_config\.json is not JSON"),
    "a config of another kind": (with_file("special_tokens_map.json", "[1]"), "is not a JSON object"),
    "a flag of another kind": (
        with_file("tokenizer_config.json", '{"do_lower_case": "no"}'),
        "has do_lower_case='no'",
    ),
    "another class": (
        with_file("tokenizer_config.json", '{"tokenizer_class": "BertJapaneseTokenizer"}'),
        r"contains files of BertJapaneseTokenizer; .*AutoTokenizer",
    ),
    "another class of pairs": (
        with_file("tokenizer_config.json", '{"tokenizer_class": "RobertaTokenizerFast"}', write_gpt2),
        "contains files of RobertaTokenizerFast",
    ),
    "added tokens": (with_file("added_tokens.json", '{"<new>": 99}'), r"adds tokens to its vocabulary \('<new>'\)"),
    "added tokens of the config": (
        with_file("tokenizer_config.json", '{"added_tokens_decoder": {"99": {"content": "<new>"}}}', write_gpt2),
        "adds tokens to its vocabulary",
    ),
    "a token twice": (with_file("vocab.txt", "a\nb\na\n"), "Ids must number the tokens from 0 without gaps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_tokenizer_is_one_message(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **arguments: Any) -> str:
        raise AssertionError(f"{name} went to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    make, words = REFUSED[case]
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(UserError, match=words) as error:
        read_tokenizer(make(tmp_path / "tokenizer"))
    assert "\n" not in str(error.value)


def test_word_ends_are_not_gpt2s(tmp_path: Path) -> None:
    """CLIP's files have the same names."""
    folder = write_gpt2(tmp_path)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {"cat</w>": len(vocabulary)}))
    with pytest.raises(UserError, match="its words end with </w>"):
        read_tokenizer(folder)


# State that outside files bring along.


def state(tokenizer: Tokenizer) -> Tokenizer:
    """With all that a file may say beside its vocabulary and rules."""
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8, pad_id=0, pad_token="a")
    tokenizer.post_processor = processors.TemplateProcessing(single="b $A b", special_tokens=[("b", 98)])
    return tokenizer


def test_state_of_a_file_is_not_taken_over(tmp_path: Path) -> None:
    """For data, prompts and decoding, read from a file or made by another library."""
    path = tmp_path / "tokenizer.json"
    state(byte_codec().tokenizer).save(str(path))
    for codec in (read_tokenizer(path), Codec.load(path), Codec(state(byte_codec().tokenizer)), Codec(saved(path))):
        assert codec.encode("abcdefghi") == list(b"abcdefghi")
        assert [line.ids for line in codec.tokenizer.encode_batch(["ab", "abcdefgh"], add_special_tokens=False)] == [
            list(b"ab"),
            list(b"abcdefgh"),
        ]
        assert codec.decode(codec.encode("abcdefghi")) == "abcdefghi"
        assert codec.unknown("abcdefghi") is None
        assert codec.difference(byte_codec()) is None
        content = json.loads(codec.tokenizer.to_str())
        assert (content["truncation"], content["padding"]) == (None, None)


def saved(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def test_no_split_is_random() -> None:
    """BPE dropout of a file, and the sampling of unigrams: a text has one sequence of tokens."""
    pairs = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.9))
    pieces = [("<u>", 0.0), ("a", -1.0), ("aa", -1.5)]
    unigrams = Tokenizer(models.Unigram(pieces, unk_id=0))
    if hasattr(unigrams.model, "alpha"):
        unigrams.model.alpha, unigrams.model.nbest_size = 0.1, 4
    assert {tuple(Codec(pairs).encode("ab")) for _ in range(50)} == {(2,)}
    codec, plain = Codec(unigrams), Codec(Tokenizer(models.Unigram(pieces, unk_id=0)))
    assert {tuple(codec.encode("aaaaa")) for _ in range(50)} == {tuple(plain.encode("aaaaa"))}


def test_dropout_of_a_file_is_no_other_tokenizer(tmp_path: Path) -> None:
    codec = bpe_codec("the cat sat on the mat, and the dog ate the hat", 262)
    content = json.loads(codec.tokenizer.to_str())
    content["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    again = read_tokenizer(tmp_path)
    assert again.difference(codec) is None
    assert again.tokenizer.to_str() == codec.tokenizer.to_str()  # what caches are keyed by


def test_ended_codecs_name_what_they_are() -> None:
    with pytest.raises(UserError, match="The tokenizer of bytes has no end-of-text token"):
        with_end_token(byte_codec(), None, "The tokenizer of bytes")
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<eos>": 1, "</s>": 2}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert with_end_token(Codec(tokenizer), None, "It").end == 2
    assert with_end_token(Codec(tokenizer), None, "It", ("none", "<eos>")).end == 1


def test_a_folder_is_read_by_tokenizer_json_first(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "both")
    byte_codec().save(folder / "tokenizer.json")
    assert read_tokenizer(folder).vocab_size == 256
    assert read_tokenizer(folder / "vocab.txt").vocab_size == len(BERT)
    shutil.copy(folder / "tokenizer.json", folder / "own name.json")
    assert read_tokenizer(folder / "own name.json").vocab_size == 256
