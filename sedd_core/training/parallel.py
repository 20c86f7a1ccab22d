"""The model as the processes of a run train it: whole in each (DDP), or divided among them (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch

from ..distributed import sharding
from ..distributed.world import World
from ..model.ema import EMA
from ..model.score import ScoreModel
from ..stages import Noise, Objective
from .loss import Loss
from .settings import Training


class ParallelModel:
    """A model, its loss as the processes compute it, and its whole weights where they are needed.

    Args:
        model: Score model; if it is divided, only the main process needs its values.
        noise: Noise schedule.
        objective: Training objective.
        training: Settings of precision, compilation and division.
        world: Processes of the run.
        bf16: Whether the network runs in bfloat16.
    """

    def __init__(
        self, model: ScoreModel, noise: Noise, objective: Objective, training: Training, world: World, bf16: bool
    ) -> None:
        self.world, self.evaluated = world, model
        """`evaluated` has values within `averaged` only, if the model is divided."""
        self.sharded = training.shards(world.size)
        if not self.sharded:
            self.model = model
            if training.compile:
                model.backbone.compile()
            self.loss = world.wrap(Loss(model, noise, objective))
            return
        network = model.backbone
        values = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        model.eval().backbone.to("meta")
        self.model = ScoreModel(deepcopy(network), model.graph, model.head).train()
        for block in sharding.blocks(self.model.backbone) if training.compile else ():
            block.compile()
        self.loss = Loss(self.model, noise, objective)
        sharding.shard(self.loss, self.model.backbone, values, world, bf16=bf16)

    @contextmanager
    def averaged(self, ema: EMA) -> Iterator[None]:
        """Within: `evaluated` has the averaged weights, whole in each process. All processes enter it.

        Args:
            ema: Average of the trained parameters.
        """
        if not self.sharded:
            with ema.in_place():
                yield
            return
        with sharding.filled(self.evaluated.backbone, self.model.backbone, ema.by_parameter(), self.world.device):
            yield

    @contextmanager
    def whole(self, ema: EMA) -> Iterator[tuple[ScoreModel, EMA]]:
        """Within: the model and its average, whole in the main process. All processes enter it.

        Args:
            ema: Average of the trained parameters.
        """
        if not self.sharded:
            yield self.model, ema
            return
        own, target = self.model.backbone, self.evaluated.backbone
        device = torch.device("cpu" if self.world.main else "meta")
        with sharding.filled(target, own, ema.by_parameter(), device):
            average = EMA(target.parameters(), ema.decay)
            sharding.copy_whole(target, own.parameters())
            yield self.evaluated, average
