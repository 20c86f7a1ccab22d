"""Data sets by a short name: where they are, their splits, and how their text is put right."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sedd_core.data import content_hash

from .detokenize import lambada, lm1b, ptb, wikitext

CONVERTED = "refs/convert/parquet"
"""The branch of each data set for the Parquet files that the hub makes; without configurations but "default"."""


def as_it_is(text: str) -> str:
    """No change."""
    return text


@dataclass(frozen=True)
class Preset:
    """A repository of the hub, its splits and text column; train None: there is only text to validate on."""

    repository: str
    config: str | None = None
    revision: str | None = None
    train: str | None = "train"
    valid: str = "validation"
    field: str = "text"
    detokenize: Callable[[str], str] = as_it_is

    @property
    def rules(self) -> str:
        """What tells its rules from others, for the cache: their name, and a hash of the file that they stand in."""
        if self.detokenize is as_it_is:
            return ""
        return f"{self.detokenize.__name__} {content_hash(Path(inspect.getfile(self.detokenize)))}"


PRESETS = {
    "openwebtext": Preset("Skylion007/openwebtext", valid="train"),
    "lm1b": Preset("dvruette/lm1b", valid="test", detokenize=lm1b),
    "wikitext2": Preset("Salesforce/wikitext", "wikitext-2-raw-v1", detokenize=wikitext),
    "wikitext103": Preset("Salesforce/wikitext", "wikitext-103-raw-v1", detokenize=wikitext),
    # Its main branch holds a script, which datasets does not run; the branch that the hub converts holds files alone.
    "ptb": Preset("ptb-text-only/ptb_text_only", revision=CONVERTED, field="sentence", detokenize=ptb),
    "lambada": Preset("EleutherAI/lambada_openai", "default", train=None, valid="test", detokenize=lambada),
}
