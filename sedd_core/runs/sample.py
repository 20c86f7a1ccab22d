"""The sampling run: from a checkpoint to text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import checkpoint, console
from ..codec import Codec
from ..errors import UserError
from ..sampling import sample
from ..score import ScoreModel
from ..stages import Noise, Sampler
from .base import Run, Workspace
from .report import report_samples
from .settings import check_seed


class Sample(Run):
    """Draw sequences from a checkpoint.

    checkpoint: a run folder, a checkpoint folder, or a folder in the published layout. steps: of the sampler.
    count: of samples. batch_size: sequences a network call. length: tokens a sample (as trained, when None).
    t_min: where the sampler's last step ends, before denoising. ema: the averaged weights.
    The i-th sample is a function of (seed, i).
    """

    def __init__(
        self,
        *,
        checkpoint: str,
        sampler: Sampler,
        steps: int = 128,
        count: int = 4,
        batch_size: int = 4,
        length: int | None = None,
        t_min: float = 1e-5,
        seed: int = 0,
        ema: bool = True,
    ) -> None:
        for name, value in {"steps": steps, "count": count, "batch_size": batch_size, "length": length}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 < t_min < 1:
            raise ValueError(f"t_min must lie between 0 and 1, not {t_min}")
        check_seed(seed)
        self.checkpoint, self.sampler, self.steps, self.count = checkpoint, sampler, steps, count
        self.batch_size, self.length, self.t_min, self.seed, self.ema = batch_size, length, t_min, seed, ema

    def describe(self) -> str:
        """What would be sampled, from which weights."""
        return (
            f"checkpoint {self.checkpoint}\n"
            f"samples    {self.count} in batches of {self.batch_size}, {self.steps} steps of "
            f"{type(self.sampler).__name__}, seed {self.seed}"
        )

    def execute(self, workspace: Workspace) -> dict[str, str]:
        """Sample, print, and write samples/sample_<i>.txt into the workspace's folder."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model, _, noise, codec, record = checkpoint.load(self.checkpoint, ema=self.ema, device=device)
        if codec is None:
            raise UserError(f"{self.checkpoint} holds no tokenizer.json, so its samples cannot be read as text.")
        length = self.length or record.node("data")["args"]["length"]
        workspace.open()
        texts = draw_texts(
            model,
            noise,
            self.sampler,
            codec,
            indices=torch.arange(self.count),
            length=length,
            steps=self.steps,
            t_min=self.t_min,
            seed=self.seed,
            batch_size=self.batch_size,
        )
        report_samples(texts, self.sampler)
        workspace.write_samples(texts)
        console.say(f"Written to {workspace.folder}")
        counts = self.sampler.counts
        return {"network calls": str(counts.calls), "clipped a position": f"{counts.clipped_per_row:.2g}"}


def draw_texts(
    model: ScoreModel,
    noise: Noise,
    sampler: Sampler,
    codec: Codec,
    *,
    indices: Int64[Tensor, " n"],
    length: int,
    steps: int,
    t_min: float,
    seed: int,
    batch_size: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[str]:
    """The samples of these indices as text, drawn under a progress bar; see `sampling.sample`."""
    with console.counted((steps + 2) * -(-len(indices) // batch_size), "sampling") as advance:
        tokens = sample(
            model,
            noise,
            sampler,
            count=len(indices),
            which=indices,
            length=length,
            steps=steps,
            t_min=t_min,
            seed=seed,
            batch_size=batch_size,
            on_step=lambda x: (advance(), on_step())[0],
        )
    return [codec.decode(row) for row in tokens.tolist()]
