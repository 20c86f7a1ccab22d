"""Data sets by short name: their repositories, splits and detokenizers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sedd_core.data import content_hash

from .detokenize import lambada, lm1b, ptb, wikitext

CONVERTED = "refs/convert/parquet"
"""Branch with the Parquet files that the hub converts; its only configuration is "default"."""


def unchanged(text: str) -> str:
    """Return the text unchanged."""
    return text


@dataclass(frozen=True)
class Preset:
    """A repository of the hub with the defaults for reading it."""

    repository: str
    """Hub id of the data set."""
    config: str | None = None
    """Configuration of the data set."""
    revision: str | None = None
    """Revision of the repository."""
    train: str | None = "train"
    """Training split; None for a data set without training text."""
    valid: str = "validation"
    """Validation split."""
    field: str = "text"
    """Column that contains the text."""
    detokenize: Callable[[str], str] = unchanged
    """Function that detokenizes a document."""

    @property
    def rules(self) -> str:
        """Identity of the detokenizer for the cache: its name and a hash of its source file; "" for none."""
        if self.detokenize is unchanged:
            return ""
        return f"{self.detokenize.__name__} {content_hash(Path(inspect.getfile(self.detokenize)))}"


PRESETS = {
    "openwebtext": Preset("Skylion007/openwebtext", valid="train"),
    "lm1b": Preset("dvruette/lm1b", valid="test", detokenize=lm1b),
    "wikitext2": Preset("Salesforce/wikitext", "wikitext-2-raw-v1", detokenize=wikitext),
    "wikitext103": Preset("Salesforce/wikitext", "wikitext-103-raw-v1", detokenize=wikitext),
    # The main branch contains a script, which `datasets` does not run; the converted branch contains only files.
    "ptb": Preset("ptb-text-only/ptb_text_only", revision=CONVERTED, field="sentence", detokenize=ptb),
    "lambada": Preset("EleutherAI/lambada_openai", "default", train=None, valid="test", detokenize=lambada),
}
