"""Tokenizers of the kinds in use, learned from a little text: of GPT-2's kind, BERT's, T5's and Llama's two."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sedd_core.text.builtin import bpe_codec
from sedd_core.text.codec import Codec

WORDS = "Once upon a time the cat, who is old, sat on it (and) said: 'no'! it isn't my name. 12 of 347; one-two_three"
TEXT = (
    "\n".join([WORDS, WORDS.lower(), "is, and not  two\n\tspaces.", *("and the name is" for _ in range(9))] * 4) + "\n"
)
MARK = "▁"


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
    return tokenizer


def unigrams() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, unk_token="<unk>", special_tokens=["<unk>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
    return tokenizer


def t5() -> Tokenizer:
    """Blanks of any kind are one space."""
    tokenizer = unigrams()
    tokenizer.normalizer = normalizers.Replace(Regex(r"\s{2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]  # pyright: ignore[reportArgumentType]
    )
    return tokenizer


def pairs(normalizer: normalizers.Normalizer | None, pre_tokenizer: pre_tokenizers.PreTokenizer | None) -> Tokenizer:
    """Pairs over whole lines: tokens reach over words, and characters that have none are bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)  # pyright: ignore[reportArgumentType]
    special = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, max_token_length=6, show_progress=False)
    tokenizer.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
    return tokenizer


def llama() -> Tokenizer:
    return pairs(normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]), None)


def new_llama() -> Tokenizer:
    return pairs(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))


@cache
def kind(name: str) -> Codec:
    makers: dict[str, Callable[[], Tokenizer]] = {
        "gpt2": lambda: bpe_codec(TEXT, 300).tokenizer,
        **{maker.__name__: maker for maker in (bert, unigrams, t5, llama, new_llama)},
    }
    return Codec(makers[name]())


SENTENCEPIECE = ("unigrams", "llama", "new_llama")
KINDS = ("gpt2", *SENTENCEPIECE, "t5", "bert")
