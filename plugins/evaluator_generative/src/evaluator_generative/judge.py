"""A causal language model of Hugging Face that scores texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sedd_core import UserError


@dataclass(frozen=True)
class Scores:
    """Negative log-likelihoods of one text's tokens after the first, in nats, by the judge's tokenizer."""

    nats: Float64[Tensor, " n"]
    """Negative log-likelihood of each token, given those before it."""
    ends: Bool[Tensor, " n"]
    """Whether the token is the judge's end-of-text token."""


class Judge:
    """A causal language model with its tokenizer, in float32.

    Args:
        name: Folder or hub id.
        device: Device to run on.

    Raises:
        UserError: There is no such model here, or it has no tokenizer.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        gguf = Path(name) if name.endswith(".gguf") else None
        source, more = (str(gguf.parent), {"gguf_file": gguf.name}) if gguf else (name, {})
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(source, **more)
            model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **more)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(
                f"The judge {name} cannot be loaded: {str(error).strip().splitlines()[0]} Set judge to a causal "
                "language model: a hub id where the hub can be reached, or a folder with its config.json, weights and "
                "tokenizer files, as `huggingface-cli download gpt2-large --local-dir gpt2-large` writes it."
            ) from error
        self.name, self.device, self.model = name, device, model.eval().to(device)
        self.longest = int(getattr(model.config, "max_position_embeddings", 1024))

    def tokens(self, text: str, longest: int) -> Int64[Tensor, " n"]:
        """Tokens of a text, at most `longest` and as many as the judge reads."""
        ids = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return torch.tensor(ids[: min(longest, self.longest)], dtype=torch.int64)

    @torch.no_grad()
    def score(self, ids: Int64[Tensor, " n"]) -> Scores:
        """Score a sequence of the judge's tokens; the first one has no likelihood.

        Args:
            ids: Tokens [n].
        """
        if len(ids) < 2:
            return Scores(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.bool))
        row = ids[None].to(self.device)
        log_p = self.model(row).logits[0, :-1].double().log_softmax(-1)
        nats = -log_p.gather(-1, row[0, 1:, None])[:, 0].cpu()
        end = self.tokenizer.eos_token_id
        return Scores(nats, ids[1:] == end if end is not None else torch.zeros(len(ids) - 1, dtype=torch.bool))

    @torch.no_grad()
    def features(self, ids: Int64[Tensor, " n"]) -> Tensor:
        """The last hidden state [D] at the last token, as MAUVE's featurizer takes it."""
        return self.model(ids[None].to(self.device), output_hidden_states=True).hidden_states[-1][0, -1].cpu()
