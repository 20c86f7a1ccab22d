"""The fixed tokens of samples: from prompts, a prefix and a suffix, and the lengths of documents."""

from __future__ import annotations

from .. import console
from ..checkpoints import Loaded
from ..checkpoints.published import trained_length
from ..errors import UserError
from ..files import expanded
from ..sampling import prompts
from ..sampling.conditioning import clamping_floor
from ..sampling.prompts import Prompt
from ..stages import FixedTokens
from .sample_settings import SampleSettings


def sample_length(settings: SampleSettings, loaded: Loaded) -> int:
    """Tokens per sample: as set, or as in training. Warns where the model was trained on shorter sequences.

    Raises:
        UserError: Neither is known.
    """
    trained = trained_length(loaded.record)
    length = settings.length or trained
    if length is None:
        raise UserError(f"{settings.checkpoint} does not state the length of its sequences: set length=...")
    if trained and length > trained:
        console.say(f"warning: the model was trained on sequences of {trained} tokens; these have {length}.")
    return length


def prompts_of(settings: SampleSettings) -> list[Prompt]:
    """The prompts; none where no token is fixed by a text."""
    if settings.prompt:
        return [prompts.parse_prompt(settings.prompt)]
    if settings.prompts:
        return prompts.read_prompts(expanded(settings.prompts))
    if settings.prefix or settings.suffix:
        return [prompts.prefix_suffix_prompt(settings.prefix, settings.suffix)]
    return []


def fixed_tokens(settings: SampleSettings, loaded: Loaded, asked: list[Prompt], length: int) -> FixedTokens | None:
    """The fixed tokens of all samples, `count` samples of each prompt in turn; None for none.

    Warns where fixing tokens leaves an error that no number of steps removes.

    Args:
        settings: The run's settings.
        loaded: The model and its tokenizer.
        asked: The prompts.
        length: Tokens per sample.

    Raises:
        UserError: Texts are to be read or written without a tokenizer, a prompt does not fit, or `lengths` does not
            suit the checkpoint.
    """
    if loaded.codec is None and (asked or settings.trajectory or settings.format != "ids"):
        raise UserError(
            f"{settings.checkpoint} has no tokenizer. Name the one that it was trained with (a folder, a file or a "
            "hub id; tokenizer=gpt2 for the published models), or write token ids: format=ids"
        )
    lengths = _lengths(settings, loaded, length)
    if loaded.codec is None or not (asked or lengths):
        return None
    if lengths:
        end = loaded.record.end
        fixed = prompts.tokenize_prompts_with_lengths(asked, loaded.codec, lengths, length, settings.count, end)
    else:
        fixed = prompts.tokenize_prompts(asked, loaded.codec, length, settings.count)
    floor = clamping_floor(loaded.graph) if asked and settings.fixed_token_noise == "same" else None
    if floor:
        console.say(f"warning: fixed tokens: {floor}. fixed_token_noise=none tells the network that they are clean.")
    return fixed


def _lengths(settings: SampleSettings, loaded: Loaded, length: int) -> tuple[int, ...]:
    """The setting `lengths`. UserError where the checkpoint needs it or cannot take it."""
    conditioned = loaded.record.conditioned_on == "lengths"
    if conditioned and not settings.lengths:
        raise UserError(
            f"{settings.checkpoint} was trained given the length of each document. Set the lengths of the samples, "
            f"in tokens before the end-of-text token, at most {length}: 'lengths=(20, 30)', used in turn."
        )
    if settings.lengths and not conditioned:
        raise UserError(
            f"{settings.checkpoint} was not trained given the lengths of documents: leave out lengths, or set length "
            "(tokens per sample)."
        )
    if max(settings.lengths, default=0) > length:
        raise UserError(f"lengths has {max(settings.lengths)}, but a sample has {length} tokens: lower it.")
    return settings.lengths
