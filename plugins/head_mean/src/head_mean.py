"""The mean head: the logits are those of the clean token, given all other positions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sedd_core import hookimpl
from sedd_core.stages import Graph, Head, NoiseLevel


class MeanHead(Head):
    """Logits as the mean x^ = p(x0_i | all other positions), normalized over the data tokens.

    On absorb, whose unmasked tokens are never asked for, this is the parametrization of MDLM (zero probability of the
    mask, unmasked tokens carried over); on uniform, that of UDLM and Duo. A logit of -inf forbids a token.

    Source: Sahoo et al., Masked Diffusion Language Models (arXiv 2406.07524), section 3.2; Schiff et al., Simple
        Guidance Mechanisms for Discrete Diffusion Models (arXiv 2412.10193).
    """

    def others(self, x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph) -> Float64[Tensor, "*shape"] | None:
        """What the graph knows of every mean: on absorb, the total score of the tokens at a mask."""
        return graph.other_scores_of_mean(x, level)

    def log_score(
        self, logits: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph
    ) -> Float[Tensor, "*shape S"]:
        """The log-scores of the mean under the graph."""
        return graph.score_from_mean(self.log_mean(logits, x, level, graph), x, level)

    def log_mean(
        self, logits: Float[Tensor, "*shape S"], x: Int64[Tensor, "*shape"], level: NoiseLevel, graph: Graph
    ) -> Float[Tensor, "*shape V"]:
        """log-softmax over the V data tokens, in float32 or float64."""
        tokens = logits[..., : graph.vocab_size]
        return tokens.to(torch.promote_types(tokens.dtype, torch.float32)).log_softmax(-1)


@hookimpl
def sedd_head() -> type[Head]:
    """The class of this plugin."""
    return MeanHead
