"""Fixed tokens of samples: from prompts, a prefix and a suffix, and document lengths."""

from __future__ import annotations

from .. import console
from ..checkpoints import Loaded, trained_length
from ..errors import UserError
from ..files import expanded
from ..sampling import prompts
from ..sampling.conditioning import clamping_floor
from ..sampling.prompts import Prompt
from ..stages import FixedTokens
from .sample_settings import SampleSettings


def sample_length(settings: SampleSettings, loaded: Loaded) -> int:
    """Number of tokens per sample: `length` if set, else as in training. Warns beyond the length of training.

    Args:
        settings: Settings of the run.
        loaded: Model and tokenizer.

    Raises:
        UserError: Neither is known.
    """
    trained = trained_length(loaded.record)
    length = settings.length or trained
    if length is None:
        raise UserError(f"{settings.checkpoint} does not record the length of its training sequences: set length=...")
    if trained and length > trained:
        console.say(f"warning: the model was trained on sequences of {trained} tokens; samples have {length}.")
    return length


def prompts_of(settings: SampleSettings) -> list[Prompt]:
    """Read the prompts of a sampling run: none unless prompt, prompts, prefix or suffix is set.

    Args:
        settings: Settings of the run.
    """
    if settings.prompt:
        return [prompts.parse_prompt(settings.prompt)]
    if settings.prompts:
        return prompts.read_prompts(expanded(settings.prompts))
    if settings.prefix or settings.suffix:
        return [prompts.prefix_suffix_prompt(settings.prefix, settings.suffix)]
    return []


def fixed_tokens(settings: SampleSettings, loaded: Loaded, templates: list[Prompt], length: int) -> FixedTokens | None:
    """Fixed tokens of all samples, `count` samples per prompt in turn; None without prompts and lengths.

    Warns if fixing tokens leaves an error that more steps do not remove.

    Args:
        settings: Settings of the run.
        loaded: Model and tokenizer.
        templates: Prompts.
        length: Number of tokens per sample.

    Raises:
        UserError: A tokenizer is needed and missing, a prompt does not fit, or `lengths` does not suit the
            checkpoint.
    """
    if loaded.codec is None and (templates or settings.trajectory or settings.format != "ids"):
        raise UserError(
            f"{settings.checkpoint} has no tokenizer. Set the one of its training (a folder, a file or a hub id; "
            "tokenizer=gpt2 for the published models), or write token ids: format=ids"
        )
    lengths = _lengths(settings, loaded, length)
    if loaded.codec is None or not (templates or lengths):
        return None
    if lengths:
        end = loaded.record.end
        fixed = prompts.tokenize_prompts_with_lengths(templates, loaded.codec, lengths, length, settings.count, end)
    else:
        fixed = prompts.tokenize_prompts(templates, loaded.codec, length, settings.count)
    floor = clamping_floor(loaded.graph) if templates and settings.fixed_token_noise == "same" else None
    if floor:
        console.say(f"warning: fixed tokens: {floor}. fixed_token_noise=none tells the network that they are clean.")
    return fixed


def _lengths(settings: SampleSettings, loaded: Loaded, length: int) -> tuple[int, ...]:
    """Return the setting `lengths`; UserError if the checkpoint requires or does not support it."""
    conditioned = loaded.record.conditioned_on == "lengths"
    if conditioned and not settings.lengths:
        raise UserError(
            f"{settings.checkpoint} was trained with documents of given lengths. Set the lengths of the samples in "
            f"tokens, without the end-of-text token, at most {length}: 'lengths=(20, 30)', used in turn."
        )
    if settings.lengths and not conditioned:
        raise UserError(
            f"{settings.checkpoint} was not trained with documents of given lengths: remove lengths=..., or set "
            "length=... (tokens per sample)."
        )
    if max(settings.lengths, default=0) > length:
        raise UserError(f"lengths={settings.lengths} exceeds the {length} tokens per sample: set at most {length}.")
    return settings.lengths
