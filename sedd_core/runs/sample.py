"""The sampling run: from a checkpoint, and tokens that may be given, to text."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .. import console, loading, prompts
from ..distributed import World
from ..errors import UserError
from ..files import expanded
from ..hub import without_folders
from ..memory import explained
from ..published import trained_length
from ..record import recordable
from ..sampling import GivenNoise, Grid, clamping_floor, sample, time_grid
from ..stages import Given, Sampler
from ..watch import LiveView, Recorder, Trajectory
from .base import Run, Workspace
from .checks import sampler_suits
from .figures import Figure, short
from .output import Format, write_samples, write_trajectory
from .report import report_samples, until
from .settings import check_seed


@recordable
class Sample(Run):
    """Draw sequences from a checkpoint. The i-th sample is a function of (seed, i), whatever the batch size.

    checkpoint: a run folder, a checkpoint folder, a folder or hub id of a published model, or a run folder of the
    original's. tokenizer: of a model that comes without one, such as the published: a folder, a tokenizer.json or a
    hub id ("gpt2"). steps: of the sampler. grid: where in time they lie (see `sampling.time_grid`). count: samples,
    of each prompt if there are any. batch_size: sequences a network call. length: tokens a sample (as trained, when
    None). lengths: Tokens of each sample before its end-of-text token, used in turn, for a checkpoint that was
    trained given the lengths of documents (data.padding=conditioned). prefix, suffix: texts that stand at the two
    ends. prompt: a text with blanks, "my name is[[*]], and" or [[16]] for so many tokens. prompts: a file of them,
    one a line. given_noise: the noise that the network is told of at given tokens: the "same" as elsewhere, or
    "none". format: "text" (a file each), "jsonl" (index, seed, prompt, text and tokens of each) or "ids" (a table of
    token ids, .npy). trajectory: record every state, show the sample as it comes about, and write it as a page and a
    picture. t_min: where the sampler's last step ends, before denoising. seed: of everything random. ema: the
    averaged weights. cond: condition of all samples, for a network that takes one: an integer (a class) or a tuple of
    numbers (a vector). ngpus: processes that share the samples; as for training.
    """

    def __init__(
        self,
        *,
        checkpoint: str,
        tokenizer: str = "",
        sampler: Sampler,
        steps: int = 128,
        grid: Grid = "uniform",
        count: int = 4,
        batch_size: int = 4,
        length: int | None = None,
        lengths: tuple[int, ...] = (),
        prefix: str = "",
        suffix: str = "",
        prompt: str = "",
        prompts: str = "",
        given_noise: GivenNoise = "same",
        format: Format = "text",
        trajectory: bool = False,
        t_min: float = 1e-5,
        seed: int = 0,
        ema: bool = True,
        cond: int | tuple[float, ...] | None = None,
        ngpus: int | None = None,
    ) -> None:
        counts = {"steps": steps, "count": count, "batch_size": batch_size, "length": length, "ngpus": ngpus}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if any(value < 1 for value in lengths):
            raise ValueError(f"lengths must be at least 1 each, not {lengths}")
        if not 0 < t_min < 1:
            raise ValueError(f"t_min must lie between 0 and 1, not {t_min}")
        if sum(bool(way) for way in (prefix or suffix, prompt, prompts)) > 1:
            raise ValueError(
                "tokens are given by a prefix and a suffix, or by a prompt, or by a file of prompts: by one"
            )
        if not checkpoint:
            raise ValueError("checkpoint is empty: name a run folder, a checkpoint folder or a published model")
        check_seed(seed)
        self.grid: Grid = grid
        self.given_noise: GivenNoise = given_noise
        self.format: Format = format
        self.checkpoint, self.tokenizer = checkpoint, tokenizer
        self.sampler, self.steps, self.count = sampler, steps, count
        self.batch_size, self.length, self.t_min, self.seed, self.ema = batch_size, length, t_min, seed, ema
        self.lengths = lengths
        self.prefix, self.suffix, self.prompt, self.prompts = prefix, suffix, prompt, prompts
        self.trajectory, self.cond, self.ngpus = trajectory, cond, ngpus

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
        counts = self.sampler.counts
        return [
            Figure("cost", float(counts.calls), "network calls"),
            Figure("clipped", counts.clipped_per_row, "probability/position"),
            Figure("speed", speed, "tokens/s"),
        ]

    def _prepared(self, world: World) -> tuple[loading.Loaded, int, list[prompts.Prompt], Given | None]:
        """The model, the tokens of a sample, the prompts, and what they give of each sample."""
        loaded = loading.load(
            self.checkpoint, ema=self.ema, device=str(world.device), tokenizer=self.tokenizer or None
        )
        tuple(sampler_suits(self.sampler, loaded.graph))
        length = self._length(loaded)
        asked = self._asked()
        return loaded, length, asked, self._given(loaded, asked, length)

    def _report(
        self,
        workspace: Workspace,
        loaded: loading.Loaded,
        asked: list[prompts.Prompt],
        tokens: Int64[Tensor, "n L"],
        trajectory: Trajectory | None,
    ) -> None:
        """Print the samples, and write them."""
        end = loaded.record.end
        texts = [loaded.codec.decode(until(row, end)) for row in tokens.tolist()] if loaded.codec else []
        report_samples(texts, self.sampler)
        of_each = [prompt.text for prompt in asked for _ in range(self.count)] or [None] * len(tokens)
        write_samples(workspace, self.format, tokens, texts, of_each, self.seed)
        if trajectory:
            write_trajectory(workspace.folder, trajectory, without_folders(self.checkpoint))

    def _length(self, loaded: loading.Loaded) -> int:
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
            return [prompts.parse(self.prompt)]
        if self.prompts:
            return prompts.read(expanded(self.prompts))
        return [prompts.ends(self.prefix, self.suffix)] if self.prefix or self.suffix else []

    def _given(self, loaded: loading.Loaded, asked: list[prompts.Prompt], length: int) -> Given | None:
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
            given = prompts.given_lengths(asked, loaded.codec, lengths, length, self.count, loaded.record.end)
        else:
            given = prompts.given_for_samples(asked, loaded.codec, length, self.count)
        floor = clamping_floor(loaded.graph) if asked and self.given_noise == "same" else None
        if floor:
            console.say(f"warning: given tokens: {floor}. given_noise=none tells the network that they are clean.")
        return given

    def _lengths(self, loaded: loading.Loaded, length: int) -> tuple[int, ...]:
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
        self, loaded: loading.Loaded, world: World, given: Given | None, length: int
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
                given=given,
                given_noise=self.given_noise,
                cond=None if self.cond is None else torch.tensor([self.cond] * total),
                on_step=on_step,
            )
        shares = world.gather((which, mine, recorder.states(), self.sampler.counts))
        indices, tokens, states, counts = zip(*shares, strict=True)
        order = torch.cat(indices).argsort()
        self.sampler.counts = reduce(operator.add, counts)
        if not self.trajectory or loaded.codec is None:
            return torch.cat(tokens)[order], None
        whole = Recorder(times)
        for state in torch.cat([part for part in states if part.numel()], 1)[:, order]:
            whole(state.long())
        return torch.cat(tokens)[order], whole.trajectory(loaded.codec, loaded.graph.mask, given)

    @contextmanager
    def _shown(
        self,
        loaded: loading.Loaded,
        world: World,
        times: Float64[Tensor, " F"],
        which: Int64[Tensor, " n"],
        given: Given | None,
    ) -> Iterator[Callable[[Int64[Tensor, "B L"]], None]]:
        """What is to be called with each state: the view of the main process's samples, or a progress bar."""
        if self.trajectory and world.main and loaded.codec:
            with LiveView(times, loaded.codec, loaded.graph.mask, given, which) as live:
                yield live
        else:
            batches = -(-len(which) // self.batch_size)
            with console.counted((self.steps + 2) * batches, "sampling") as advance:
                yield lambda x: advance()
