"""Settings of a sampling run."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.inference import Inference
from ..sampling.conditioning import FixedTokenNoise
from ..sampling.grid import Grid
from ..stages import Sampler
from ..training.limits import check_at_least, check_seed, require
from .output import Format
from .run import Run


@dataclass(frozen=True, kw_only=True)
class SampleSettings(Inference, Run):
    """Checkpoint, number and form of samples, and how they are drawn."""

    checkpoint: str
    """Run folder, checkpoint folder, or folder, file or hub id in an installed format, such as a published model."""
    checkpoint_format: str | None = None
    """Format to read the checkpoint with, such as sedd; None: the one that matches (python -m sedd_core plugins)."""
    tokenizer: str = ""
    """Tokenizer for a model without one: a tokenizer.json, a folder or a hub id (gpt2 for the published models)."""
    sampler: Sampler
    """Sampler of the reverse process."""
    steps: int = 128
    """Number of sampling steps (one network call each)."""
    grid: Grid = "uniform"
    """Spacing of the sampling steps in time: see sedd_core.sampling.grid.time_grid."""
    count: int = 4
    """Number of samples; with prompts, the number of samples per prompt."""
    batch_size: int = 4
    """Sequences per network call."""
    length: int | None = None
    """Tokens per sample; None: as in training."""
    lengths: tuple[int, ...] = ()
    """Tokens of each sample before its end-of-text token, used in turn, for data.padding=conditioned models."""
    prefix: str = ""
    """Text at the start of each sample."""
    suffix: str = ""
    """Text at the end of each sample."""
    prompt: str = ""
    """Text with blanks: "my name is[[*]], and", or [[16]] for a blank of 16 tokens."""
    prompts: str = ""
    """File of prompts, one per line."""
    fixed_token_noise: FixedTokenNoise = "same"
    """Noise level that the network is given at fixed tokens: the same as elsewhere, or none."""
    format: Format = "text"
    """Output: text (one file each), jsonl (with seed, prompt and tokens), or ids (a table of token ids, .npy)."""
    trajectory: bool = False
    """Whether every state is recorded, shown in the terminal, and written as a web page and a picture."""
    t_min: float = 1e-5
    """Diffusion time at which the last sampling step ends, before the final denoising."""
    seed: int = 0
    """Random seed of the samples."""
    ema: bool = True
    """Whether the averaged weights are used."""
    cond: int | tuple[float, ...] | None = None
    """Condition of every sample, for a network that takes one: an int (classes [B]) or floats (vectors [B, n])."""
    cache: bool = False
    """Whether sequences whose states did not change keep their features: fewer network calls, the same samples, for
    networks that are not given the noise level (model.reads=nothing)."""
    ngpus: int | None = None
    """Number of processes that share the samples; None: all GPUs of this machine, or one process on a CPU."""

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, count=self.count, batch_size=self.batch_size)
        check_at_least(1, length=self.length, ngpus=self.ngpus)
        require(min(self.lengths, default=1) >= 1, f"lengths must be at least 1 each, not {self.lengths}")
        require(0 < self.t_min < 1, f"t_min must lie between 0 and 1, not {self.t_min}")
        ways = (bool(self.prefix or self.suffix), bool(self.prompt), bool(self.prompts))
        require(sum(ways) <= 1, "prefix and suffix, prompt, and prompts exclude each other: set one of them")
        require(
            self.checkpoint != "", "checkpoint is empty: set a run folder, a checkpoint folder or a published model"
        )
        check_seed(self.seed)

    def describe(self) -> str:
        """Describe the checkpoint and the samples."""
        return (
            f"checkpoint {self.checkpoint}\n"
            f"samples    {self.count} in batches of {self.batch_size}, {self.steps} steps of "
            f"{type(self.sampler).__name__}, seed {self.seed}"
        )

    def starts_from(self) -> list[tuple[str, str | None]]:
        """Checkpoint to sample from."""
        return [(self.checkpoint, self.checkpoint_format)]
