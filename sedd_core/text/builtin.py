"""Built-in codecs: characters, bytes, byte pairs trained on a text, and bare token ids."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ..errors import UserError
from .codec import Codec, byte_of_character

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Token of all characters outside the alphabet of a character codec."""


def character_codec(text: str, unknown: bool = True) -> Codec:
    """A codec with one token per character.

    Args:
        text: Text whose characters form the alphabet.
        unknown: Whether to add a token for all other characters; without it, encoding them is an error.
    """
    characters = [*([UNKNOWN] if unknown else []), *sorted(set(text) - {UNKNOWN})]
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return Codec(tokenizer)


def id_codec(vocab_size: int) -> Codec:
    """A codec of bare token ids: its text is ids separated by spaces, which count as no characters.

    Args:
        vocab_size: Vocabulary size V.
    """
    tokenizer = Tokenizer(models.WordLevel({str(index): index for index in range(vocab_size)}, unk_token="none"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Codec(tokenizer)


def byte_codec() -> Codec:
    """A codec with one token per UTF-8 byte; its vocabulary size is 256."""
    alphabet = {character: byte for character, byte in byte_of_character().items()}
    return Codec(_byte_level(models.BPE(alphabet, [])))


def bpe_codec(text: str, vocab_size: int) -> Codec:
    """A byte-level BPE codec trained on `text`; its 256 base tokens encode any text.

    Args:
        text: Text to train on.
        vocab_size: Vocabulary size, the 256 bytes included.

    Raises:
        UserError: The text has too few pairs for `vocab_size` tokens.
    """
    tokenizer = _byte_level(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    codec = Codec(tokenizer)
    if codec.vocab_size != vocab_size:
        raise UserError(
            f"This text gives {codec.vocab_size} byte-pair tokens, not {vocab_size}. Set a smaller vocabulary size."
        )
    return codec


def _byte_level(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
