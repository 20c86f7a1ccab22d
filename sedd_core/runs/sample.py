"""The sampling run: from a checkpoint, and tokens that may be given, to text."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .. import checkpoints, console
from ..build.workspace import Workspace
from ..checkpoints.published import trained_length
from ..distributed.world import World
from ..errors import UserError
from ..files import expanded
from ..model.memory import explained
from ..record.figures import Figure, short
from ..record.recordable import recordable
from ..sampling import prompts
from ..sampling.conditioning import FixedTokenNoise, clamping_floor
from ..sampling.grid import Grid, time_grid
from ..sampling.report import before_end, report_samples
from ..sampling.sample import sample
from ..stages import FixedTokens, Sampler
from ..text.hub import without_folders
from ..training.settings import check_at_least, check_seed, require
from ..trajectory import LiveView, Recorder, Trajectory
from .checks import sampler_suits
from .output import Format, write_samples, write_trajectory
from .run import Run


@recordable
@dataclass(frozen=True, kw_only=True)
class Sample(Run):
    """Draw samples from a checkpoint. The i-th sample is a function of (seed, i), whatever the batch size."""

    checkpoint: str
    """Run folder, checkpoint folder, published model (folder or hub id), or run folder of the original code."""
    tokenizer: str = ""
    """Tokenizer of a model that has none: a tokenizer.json, a folder or a hub id (gpt2 for the published models)."""
    sampler: Sampler
    """Sampler."""
    steps: int = 128
    """Number of sampling steps (one network call each)."""
    grid: Grid = "uniform"
    """Spacing of the sampling steps in time: see `sampling.grid.time_grid`."""
    count: int = 4
    """Number of samples, of each prompt if there are prompts."""
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
    """Condition of all samples, for a network that takes one: an int (a class) or a tuple of floats (a vector)."""
    ngpus: int | None = None
    """Number of processes that share the samples; None: all GPUs of this machine, or one process on a CPU."""

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, count=self.count, batch_size=self.batch_size)
        check_at_least(1, length=self.length, ngpus=self.ngpus)
        require(min(self.lengths, default=1) >= 1, f"lengths must be at least 1 each, not {self.lengths}")
        require(0 < self.t_min < 1, f"t_min must lie between 0 and 1, not {self.t_min}")
        ways = (bool(self.prefix or self.suffix), bool(self.prompt), bool(self.prompts))
        require(sum(ways) <= 1, "set one of prefix and suffix, prompt, or prompts: they exclude each other")
        require(self.checkpoint != "", "checkpoint is empty: name a run, a checkpoint or a published model")
        check_seed(self.seed)

    def describe(self) -> str:
        """What would be sampled, from which weights."""
        return (
            f"checkpoint {self.checkpoint}\n"
            f"samples    {self.count} in batches of {self.batch_size}, {self.steps} steps of "
            f"{type(self.sampler).__name__}, seed {self.seed}"
        )

    def starts_from(self) -> list[str]:
        """The checkpoint to sample from."""
        return [self.checkpoint]

    def execute(self, workspace: Workspace) -> list[Figure]:
        """Sample, print, and write into the workspace's folder."""
        world = workspace.world
        loaded, length, asked, given = world.agree(lambda: self._prepared(world))
        workspace.open()
        started = time.monotonic()
        tokens, trajectory = self._draw(loaded, world, given, length)
        speed = tokens.numel() / (time.monotonic() - started)
        world.agree(lambda: self._report(workspace, loaded, asked, tokens, trajectory) if world.main else None)
        console.say(f"{short(speed)} tokens/s. Written to {workspace.folder}")
        counts = self.sampler.stats
        return [
            Figure("cost", float(counts.calls), "network calls"),
            Figure("clipped", counts.clipped_per_position, "probability/position"),
            Figure("speed", speed, "tokens/s"),
        ]

    def _prepared(self, world: World) -> tuple[checkpoints.Loaded, int, list[prompts.Prompt], FixedTokens | None]:
        """The model, the tokens of a sample, the prompts, and what they give of each sample."""
        loaded = checkpoints.load_checkpoint(
            self.checkpoint, ema=self.ema, device=str(world.device), tokenizer=self.tokenizer or None
        )
        tuple(sampler_suits(self.sampler, loaded.graph))
        length = self._length(loaded)
        asked = self._asked()
        return loaded, length, asked, self._given(loaded, asked, length)

    def _report(
        self,
        workspace: Workspace,
        loaded: checkpoints.Loaded,
        asked: list[prompts.Prompt],
        tokens: Int64[Tensor, "n L"],
        trajectory: Trajectory | None,
    ) -> None:
        """Print the samples, and write them."""
        end = loaded.record.end
        texts = [loaded.codec.decode(before_end(row, end)) for row in tokens.tolist()] if loaded.codec else []
        report_samples(texts, self.sampler)
        of_each = [prompt.text for prompt in asked for _ in range(self.count)] or [None] * len(tokens)
        write_samples(workspace, self.format, tokens, texts, of_each, self.seed)
        if trajectory:
            write_trajectory(workspace.folder, trajectory, without_folders(self.checkpoint))

    def _length(self, loaded: checkpoints.Loaded) -> int:
        """Tokens a sample. A warning where they are more than the network has seen."""
        trained = trained_length(loaded.record)
        length = self.length or trained
        if length is None:
            raise UserError(f"{self.checkpoint} does not say how long its sequences are: set length=...")
        if trained and length > trained:
            console.say(f"warning: the model was trained on sequences of {trained} tokens; these have {length}.")
        return length

    def _asked(self) -> list[prompts.Prompt]:
        """The prompts; none where no token is given."""
        if self.prompt:
            return [prompts.parse_prompt(self.prompt)]
        if self.prompts:
            return prompts.read_prompts(expanded(self.prompts))
        return [prompts.prefix_suffix_prompt(self.prefix, self.suffix)] if self.prefix or self.suffix else []

    def _given(self, loaded: checkpoints.Loaded, asked: list[prompts.Prompt], length: int) -> FixedTokens | None:
        """What is given of all samples, `count` of each prompt after the other. A warning where that has a floor.

        UserError where texts are to be read or written, and there is no tokenizer.
        """
        if loaded.codec is None and (asked or self.trajectory or self.format != "ids"):
            raise UserError(
                f"{self.checkpoint} comes without a tokenizer. Name the one that it was trained with (a folder, a "
                "file or a hub id; tokenizer=gpt2 for the published models), or ask for token ids: format=ids"
            )
        lengths = self._lengths(loaded, length)
        if loaded.codec is None or not (asked or lengths):
            return None
        if lengths:
            given = prompts.tokenize_prompts_with_lengths(
                asked, loaded.codec, lengths, length, self.count, loaded.record.end
            )
        else:
            given = prompts.tokenize_prompts(asked, loaded.codec, length, self.count)
        floor = clamping_floor(loaded.graph) if asked and self.fixed_token_noise == "same" else None
        if floor:
            console.say(f"warning: given tokens: {floor}. given_noise=none tells the network that they are clean.")
        return given

    def _lengths(self, loaded: checkpoints.Loaded, length: int) -> tuple[int, ...]:
        """The setting `lengths`. UserError where the checkpoint needs it or cannot take it."""
        conditioned = loaded.record.conditioned_on == "lengths"
        if conditioned and not self.lengths:
            raise UserError(
                f"{self.checkpoint} was trained given the length of each document. Give the lengths of the samples, "
                f"in tokens before the end-of-text token, at most {length}: 'lengths=(20, 30)', used in turn."
            )
        if self.lengths and not conditioned:
            raise UserError(
                f"{self.checkpoint} was not trained given the lengths of documents, so it takes none: leave out "
                "lengths, or set length (tokens a sample)."
            )
        if max(self.lengths, default=0) > length:
            raise UserError(f"lengths has {max(self.lengths)}, but a sample has {length} tokens: lower it.")
        return self.lengths

    def _draw(
        self, loaded: checkpoints.Loaded, world: World, given: FixedTokens | None, length: int
    ) -> tuple[Int64[Tensor, "n L"], Trajectory | None]:
        """All samples, and their states if these are wanted; each process draws its share."""
        total = len(given.tokens) if given else self.count
        which = world.share(total)
        times = time_grid(self.steps, self.t_min, self.grid, loaded.noise, world.device).cpu()
        times = torch.cat([times, times.new_zeros(1)])  # the result's
        recorder = Recorder(times)
        with self._shown(loaded, world, times, which, given) as show, explained("sampling", "batch_size or length"):

            def on_step(x: Int64[Tensor, "B L"]) -> None:
                show(x)
                if self.trajectory:
                    recorder(x)

            mine = sample(
                loaded.model,
                loaded.noise,
                self.sampler,
                count=total,
                which=which,
                length=length,
                steps=self.steps,
                t_min=self.t_min,
                seed=self.seed,
                batch_size=self.batch_size,
                grid=self.grid,
                fixed_tokens=given,
                fixed_token_noise=self.fixed_token_noise,
                cond=None if self.cond is None else torch.tensor([self.cond] * total),
                on_step=on_step,
            )
        shares = world.gather((which, mine, recorder.states(), self.sampler.stats))
        indices, tokens, states, counts = zip(*shares, strict=True)
        order = torch.cat(indices).argsort()
        self.sampler.stats = reduce(operator.add, counts)
        if not self.trajectory or loaded.codec is None:
            return torch.cat(tokens)[order], None
        whole = Recorder(times)
        for state in torch.cat([part for part in states if part.numel()], 1)[:, order]:
            whole(state.long())
        return torch.cat(tokens)[order], whole.trajectory(loaded.codec, loaded.graph.mask, given)

    @contextmanager
    def _shown(
        self,
        loaded: checkpoints.Loaded,
        world: World,
        times: Float64[Tensor, " F"],
        which: Int64[Tensor, " n"],
        given: FixedTokens | None,
    ) -> Iterator[Callable[[Int64[Tensor, "B L"]], None]]:
        """What is to be called with each state: the view of the main process's samples, or a progress bar."""
        if self.trajectory and world.main and loaded.codec:
            with LiveView(times, loaded.codec, loaded.graph.mask, given, which) as live:
                yield live
        else:
            batches = -(-len(which) // self.batch_size)
            with console.progress_bar((self.steps + 2) * batches, "sampling") as advance:
                yield lambda x: advance()
