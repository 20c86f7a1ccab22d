"""Text files, and the corpus that every machine has."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import data_text
import huggingface_hub
import numpy as np
import pytest
import torch
from data_text.pieces import encoded_pieces, pieces_of
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sedd_core import UserError, plugin
from sedd_core.data.cache import content_hash, corpus_key
from sedd_core.stages import Data
from sedd_core.testing import check_data
from sedd_core.text.builtin import bpe_codec, byte_codec, character_codec
from sedd_core.text.codec import Codec

TEXT = "".join(f"line {i}: the cat sat on the mat.\n" for i in range(200))


def data(**arguments: Any) -> Data:
    return plugin("data_text")(**{"length": 16, "tokenizer": "char", **arguments})


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


def text_of(source: Data, split: str) -> str:
    sequences = source.split(split)
    return source.codec().decode(sequences.batch(torch.arange(len(sequences))).tokens.flatten().tolist())


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_conformance(file: str, tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "other.txt").write_text(TEXT.replace("cat", "dog"))
    settings = {"tokenizer": tokenizer, "vocab": 300, "length": 50}  # a line has up to 35 characters
    other = data(paths=(str(tmp_path / "other.txt"),), **settings)
    check_data(lambda: data(paths=(file,), **settings), other=other)
    check_data(lambda: data(paths=(file,), valid_paths=(str(tmp_path / "other.txt"),), **settings))


@pytest.mark.parametrize(("tokenizer", "vocab"), [("char", None), ("byte", 256), ("bpe", 300)])
def test_the_end_is_validated_on(file: str, tokenizer: str, vocab: int | None) -> None:
    source = data(paths=(file,), tokenizer=tokenizer, vocab=300, valid_fraction=0.25)
    assert source.vocab_size() == vocab
    train, valid = text_of(source, "train"), text_of(source, "valid")
    cut = round(len(TEXT) * 0.75)
    assert TEXT[:cut].startswith(train)
    assert TEXT[cut:].startswith(valid)
    assert len(train) > 0.98 * cut
    assert source.codec().vocab_size == (vocab or len(set(TEXT[:cut])) + 1)


def test_files_to_validate_on(file: str, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "other.txt.gz", "wt") as other:
        other.write("the mat sat on the cat. " * 5)
    source = data(paths=(file, file), valid_paths=(str(tmp_path / "other.txt.gz"),))
    assert (TEXT + TEXT).startswith(text_of(source, "train"))
    assert text_of(source, "valid").startswith("the mat sat on the cat. ")


def test_a_file_is_not_on_both_sides(file: str, tmp_path: Path) -> None:
    copy = Path(file).rename(tmp_path / "copy.txt")
    Path(file).write_text(TEXT)
    with pytest.raises(UserError, match=r"copy\.txt is in both training and validation data"):
        data(paths=(file,), valid_paths=(str(copy),)).split("train")


def test_a_tokenizer_from_a_file(file: str, tmp_path: Path) -> None:
    data(paths=(file,)).codec().save(tmp_path / "own.json")
    source = data(paths=(file,), tokenizer=str(tmp_path / "own.json"))
    assert TEXT.startswith(text_of(source, "train"))


def test_the_fingerprint_is_of_content_and_settings(file: str) -> None:
    one = data(paths=(file,)).fingerprint()
    assert one == data(paths=(file,), length=32).fingerprint()
    assert one != data(paths=(file,), tokenizer="byte").fingerprint()
    Path(file).write_text(TEXT + "more")
    assert one != data(paths=(file,)).fingerprint()


LONG = TEXT + "  two \n\n three" * 50 + "x" * 400 + ", and\nso on " * 50 + "\u65e5\u672c" * 100 + TEXT


def sentencepiece(prepends: bool) -> Codec:
    """Unigrams of SentencePiece's kind, which put a marker before all text that they are given."""
    tokenizer = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="never" if prepends else "first", split=not prepends)
    tokenizer.pre_tokenizer, tokenizer.decoder = metaspace, decoders.Metaspace()
    special = ["<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, unk_token="<unk>", special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LONG.splitlines(keepends=True), trainer)
    if prepends:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return Codec(tokenizer)


def wordpiece() -> Codec:
    tokenizer = Tokenizer(
        models.WordPiece({"[UNK]": 0, "the": 1, "cat": 2, "##x": 3, "x": 4, ",": 5, "##e": 6}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Codec(tokenizer)


CUT = {
    "bpe": lambda: bpe_codec(LONG, 280),
    "byte": byte_codec,
    "char": lambda: character_codec(LONG),
    "wordpiece": wordpiece,
    "sentencepiece": lambda: sentencepiece(prepends=False),
    "sentencepiece, prepending": lambda: sentencepiece(prepends=True),
}


def encoded(codec: Codec, text: str, size: int) -> list[np.ndarray]:
    return list(encoded_pieces(codec, text, list(pieces_of(codec, text, size))))


@pytest.mark.parametrize("size", [50, 77, 1000])
@pytest.mark.parametrize("kind", CUT)
def test_a_text_is_tokenized_in_pieces_as_it_is_whole(kind: str, size: int) -> None:
    codec = CUT[kind]()
    pieces = encoded(codec, LONG, size)
    assert np.concatenate(pieces).tolist() == codec.encode(LONG)
    assert len(pieces) > len(LONG) / size / 2
    assert encoded(codec, "", size) == []


def test_pieces_are_cut_before_blanks_and_else_anywhere() -> None:
    assert [len(piece) for piece in encoded(byte_codec(), "x" * 400, 150)] == [150, 150, 100]
    assert [len(piece) for piece in encoded(byte_codec(), "one two   three " * 2, 12)] == [7, 8, 8, 9]


def test_pieces_grow_where_every_cut_would_change_the_tokens() -> None:
    """Pairs without end: whatever stands before decides how the rest is paired."""
    tokenizer = Tokenizer(models.BPE({"x": 0, "xx": 1, "xxx": 2}, [("x", "x"), ("xx", "x")]))
    pieces = encoded(Codec(tokenizer), "x" * 400, 30)
    assert np.concatenate(pieces).tolist() == Codec(tokenizer).encode("x" * 400)


@pytest.mark.parametrize("prepends", [False, True])
def test_long_texts_have_no_space_at_their_cuts(prepends: bool, file: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(data_text, "PIECE", 500)
    codec = sentencepiece(prepends)
    codec.save(tmp_path / "tokenizer.json")
    Path(file).write_text(LONG, encoding="utf-8")
    source = data(paths=(file,), tokenizer=str(tmp_path / "tokenizer.json"), length=1)
    train = LONG[: round(len(LONG) * 0.9)]
    assert source.corpus("train").tokens.tolist() == codec.encode(train)


def test_a_cache_of_other_tokens_is_not_taken(file: str, tmp_path: Path) -> None:
    """Of files whose tokens at cuts have changed, and of no others."""
    keys = []
    closed = character_codec(TEXT.replace("\n", ""), unknown=False)
    for codec in (byte_codec(), closed, sentencepiece(False), sentencepiece(True)):
        codec.save(tmp_path / "tokenizer.json")
        own, fraction = codec.tokenizer.to_str(), "0.1"
        source = data(paths=(file,), tokenizer=str(tmp_path / "tokenizer.json"))
        before = corpus_key("data_text 2", "train", content_hash(Path(file)), "", fraction, source.tokenizer, own)
        keys.append(source.key("train") == before)
    assert keys == [True, True, False, False]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    for name, encoding in (("marked", "utf-8-sig"), ("plain", "utf-8")):
        (tmp_path / f"{name}.txt").write_text(TEXT, encoding=encoding)
    marked, plain = (data(paths=(str(tmp_path / f"{name}.txt"),)) for name in ("marked", "plain"))
    assert text_of(marked, "train") == text_of(plain, "train")
    assert marked.codec().difference(plain.codec()) is None


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
def test_compressed_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"text.txt.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("text.txt", TEXT)
    else:
        path.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[ending].compress(TEXT.encode()))
    source = data(paths=(str(path),))
    assert TEXT.startswith(text_of(source, "train"))
    assert source.title == "text"
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="cannot be read as UTF-8 text"):
        data(paths=(str(path),)).split("train")


def test_what_is_not_decompressed_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.txt.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(UserError, match=r"Zstandard.*zstd -d"):
        data(paths=(str(tmp_path / "text.txt.zst"),)).split("train")


def test_how_a_file_is_read_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wiki.raw.jsonl").write_text(TEXT)
    source = data(paths=(str(tmp_path / "wiki.raw.jsonl"),))
    source.split("train")
    source.split("valid")
    said = f"{tmp_path}/wiki.raw.jsonl: read as plain UTF-8 text; data=hub reads the documents in it"
    assert capsys.readouterr().out.count(said) == 1
    assert source.title == "wiki.raw"


def test_a_closed_alphabet(tmp_path: Path) -> None:
    (tmp_path / "dna.txt").write_text("ACGT" * 100)
    closed = {"paths": (str(tmp_path / "dna.txt"),), "unknown": False}
    assert data(**closed).codec().vocab_size == 4
    assert data(**{**closed, "unknown": True}).codec().vocab_size == 5
    (tmp_path / "dna.txt").write_text("ACGT" * 90 + "\nACGTN")
    with pytest.raises(
        UserError, match=r"contains '\\n', .* at character 361 \(line 1\) of data\.paths.*data\.unknown=true"
    ):
        data(**closed, valid_fraction=0.02).split("valid")
    (tmp_path / "valid.txt").write_text("ACG\nTAN")
    (tmp_path / "dna.txt").write_text("ACGT\n" * 90)
    with pytest.raises(UserError, match=r"contains 'N', .* at character 7 \(line 2\) of data\.valid_paths"):
        data(**closed, valid_paths=(str(tmp_path / "valid.txt"),)).split("valid")
    with pytest.raises(ValueError, match="tokenizer='char'"):
        data(tokenizer="byte", unknown=False)


def test_titles() -> None:
    assert data().title == "docstrings"
    assert data(paths=("a/shakespeare.txt",)).title == "shakespeare"
    assert data(paths=("a/shakespeare.txt",), valid_paths=("other.txt.gz",)).title == "other"
    assert data(paths=("wiki.train.tokens",), valid_paths=("wiki.test.tokens",)).title == "wiki.test"
    assert data(paths=("a.txt", "b.txt", "c.txt")).title == "a+2"


@pytest.mark.slow
def test_the_corpus_that_every_machine_has() -> None:
    source = data(tokenizer="byte", length=128)
    train, valid = text_of(source, "train"), text_of(source, "valid")
    assert 1_000_000 < len(train) < 3_000_000
    assert 0.05 < len(valid) / len(train) < 0.25
    assert set(train) <= set(map(chr, range(32, 127))) | {"\n", "\t"}
    assert "Return" in train
    paragraphs = {paragraph for paragraph in train.split("\n\n") if len(paragraph) >= 80}
    shared = [paragraph for paragraph in valid.split("\n\n") if paragraph in paragraphs]
    assert sum(map(len, shared)) < 0.02 * len(valid)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"length": 0}, "length must be"),
        ({"vocab": 10}, "vocab must be at least 257"),
        ({"valid_fraction": 1.0}, "valid_fraction must lie"),
        ({"valid_paths": ("a",)}, "valid_paths need paths"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        data(**arguments)


def test_constructing_reads_nothing() -> None:
    assert "nowhere.txt" in data(paths=("nowhere.txt",)).describe()


@pytest.mark.parametrize(
    ("content", "words"), [(None, r"no tokenizer at .*x\.json"), (b"\xff\xfe", r"is not a tokenizer\.json")]
)
def test_a_file_that_is_no_tokenizer(file: str, tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=words):
        data(paths=(file,), tokenizer=str(tmp_path / "x.json")).split("train")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no text file"), (b"\xff\xfe\x00", "cannot be read as UTF-8"), (b"short", "lower data.length")],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        data(paths=(str(tmp_path / "x.txt"),)).split("train")


def test_patterns_and_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    for name in ("a", "b", "c[1]"):
        (tmp_path / "books" / f"{name}.txt").write_text(f"{name} " * 400)
    both = data(paths=("~/books/?.txt", "books/c[1].txt"), valid_paths=())
    listed = data(paths=("books/a.txt", "books/b.txt", "books/c[1].txt"))
    assert both.fingerprint() == listed.fingerprint()
    assert text_of(both, "train") == text_of(listed, "train")
    assert both.title == "books+1"
    assert data(paths=("books/a.txt", "books/[ab].txt")).fingerprint() != data(paths=("books/a.txt",)).fingerprint()
    with pytest.raises(UserError, match=r"No text file matches books/\*.md"):
        data(paths=("books/*.md",)).split("train")
    with pytest.raises(UserError, match=r"books/a.txt is in both training and validation data"):
        data(paths=("books/*.txt",), valid_paths=("~/books/a.txt",)).split("train")


def test_a_tokenizer_in_a_folder(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pieces"
    folder.mkdir()
    codec = bpe_codec(TEXT, 270)
    codec.save(folder / "tokenizer.json")
    prints = {data(paths=(file,), tokenizer=form).fingerprint() for form in ("pieces", "./pieces", "~/pieces")}
    assert len(prints) == 3  # named otherwise
    for form in ("pieces", "pieces/tokenizer.json", "~/pieces"):
        assert data(paths=(file,), tokenizer=form).codec().vocab_size == 270
    (folder / "tokenizer.json").unlink()
    codec.tokenizer.model.save(str(folder))  # vocab.json and merges.txt, as GPT-2's
    assert data(paths=(file,), tokenizer="pieces").codec().encode("the cat") == codec.encode("the cat")
    for missing in ("./nowhere/x", "nowhere.json", "~/nowhere", "pieces/x"):
        with pytest.raises(UserError, match=f"There is no tokenizer at {missing}"):
            data(paths=(file,), tokenizer=missing).split("train")


def test_a_tokenizer_of_the_hub(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = bpe_codec(TEXT, 270)
    (tmp_path / "cache").mkdir()
    codec.save(tmp_path / "cache" / "tokenizer.json")

    def snapshot_download(name: str, **arguments: Any) -> str:
        if name != "gpt2":
            raise huggingface_hub.errors.LocalEntryNotFoundError("No connection")
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    assert data(paths=(file,), tokenizer="gpt2").codec().encode("the cat") == codec.encode("the cat")
    with pytest.raises(UserError, match=r"'bpee' does not exist locally.*No connection.*learned here: bpe, char, byte"):
        data(paths=(file,), tokenizer="bpee").split("train")


def test_truncation_of_a_tokenizer_is_switched_off(file: str, tmp_path: Path) -> None:
    """A file that truncates to 64 tokens gave 2 sequences for some hundreds."""
    codec = byte_codec()
    codec.tokenizer.enable_truncation(64)
    codec.tokenizer.save(str(tmp_path / "tokenizer.json"))
    source = data(paths=(file,), tokenizer=str(tmp_path / "tokenizer.json"))
    assert len(source.split("train")) == round(len(TEXT) * 0.9) // 16
    assert TEXT.startswith(text_of(source, "train"))
