"""The training loss as a module, the whole computation that needs gradients in one call; and what has no gradient."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..maths.draws import Draws
from ..model.score import ScoreModel
from ..registry.plugins import name_of
from ..stages import Batch, Graph, Noise, Objective


class Loss(nn.Module):
    """The objective of a model. Its `forward` is what DistributedDataParallel wraps.

    Args:
        model: Score model to train.
        noise: Noise schedule.
        objective: Training objective.
    """

    def __init__(self, model: ScoreModel, noise: Noise, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.noise = noise
        self.objective = objective

    def forward(self, batch: Batch, draws: Draws, t_min: float) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
        """The mean over the batch, and the loss of each sequence [B], in nats.

        Args:
            batch: Clean sequences.
            draws: Random numbers of these sequences at this step.
            t_min: Smallest diffusion time.

        Raises:
            UserError: The objective returned losses of another shape.
        """
        losses = self.objective.losses(self.model, self.noise, batch, draws, t_min)
        if losses.shape != batch.tokens.shape[:1]:
            name = name_of(type(self.objective)) or type(self.objective).__name__
            raise UserError(
                f"The objective {name} returned losses of shape {list(losses.shape)}; one per sequence is expected, "
                f"{list(batch.tokens.shape[:1])}."
            )
        return losses.sum() / len(losses), losses  # unlike `mean`, it hands back one number as the weight of each


def check_process_is_fixed(noise: Noise, graph: Graph) -> None:
    """Reject trainable parameters of the forward process, for which this loss has no exact gradient.

    The expectation of the loss is over x ~ q_sigma(t)(. | x0), which depends on these parameters too; backpropagation
    sees only sigma and the weight (tests/training/test_training.py enumerates the difference).

    Args:
        noise: Noise schedule.
        graph: Forward process.

    Raises:
        UserError: The noise or the graph has a parameter that requires a gradient.
    """
    for stage, part in (("noise", noise), ("graph", graph)):
        trained = [name for name, parameter in part.named_parameters() if parameter.requires_grad]
        if trained:
            raise UserError(
                f"The {stage} {type(part).__name__} has trainable parameters ({', '.join(trained)}), which cannot be "
                "trained: the loss has no exact gradient for them, since the noised states that it averages over "
                "depend on them too. Make them constants: buffers, or parameters with requires_grad=False."
            )
