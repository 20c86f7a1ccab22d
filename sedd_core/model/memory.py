"""Memory: estimates of the memory that training needs on one device, and messages for out-of-memory errors."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..distributed.sharding import blocks
from ..errors import UserError
from ..maths.linear_entropy import workspace
from ..maths.rounding import Storage
from ..stages import Backbone, Graph, Head, NoiseLevel
from .score import ScoreModel

GIB = 2**30
RESERVED = GIB
"""Bytes reserved for the CUDA context, library workspaces and fragmentation."""
COPIES = 5.0
"""Float32 copies of the weights: weights, gradients, two moments of AdamW, moving average."""


def copies(moments: Storage, average: Storage) -> float:
    """Float32 copies of the weights on a device: weights, gradients, two moments of AdamW, and the moving average.

    Args:
        moments: How the moments are kept.
        average: How the average is kept.
    """
    share = {("fp32", "same"): 1.0, ("bf16", "same"): 0.5}
    return 2 + 2 * share.get(moments, 0.0) + share.get(average, 0.0)


@dataclass(frozen=True)
class Estimate:
    """Memory of training on one device."""

    kept: int
    """Bytes of weights, gradients, moments and average: whole, with DDP's buckets if there are several processes, or
    this process's part of them and what is gathered at a time."""
    per_pass: int
    """Bytes of a forward and backward pass of any size: the weights in bfloat16."""
    per_sequence: int
    """Bytes of the activations of one sequence at their peak."""

    def total(self, sequences: int) -> int:
        """Total bytes with passes over `sequences` sequences."""
        return self.kept + self.per_pass + sequences * self.per_sequence

    def max_sequences(self, memory: int) -> int:
        """Largest number of sequences per pass that fits into `memory` bytes; 0 if none fits."""
        return max(0, (memory - RESERVED - self.total(0)) // max(self.per_sequence, 1))

    def describe(self, sequences: int) -> str:
        """Breakdown in GiB for passes over `sequences` sequences."""
        fixed = (self.kept + self.per_pass) / GIB
        return (
            f"{self.total(sequences) / GIB:.2f} GiB: {fixed:.2f} GiB for weights, gradients, AdamW's moments and the "
            f"average, {self.per_sequence / GIB:.3f} GiB per sequence, {sequences} sequences per pass"
        )


def estimate(
    make: Callable[[], Backbone],
    graph: Graph,
    head: Head,
    length: int,
    *,
    bf16: bool,
    processes: int = 1,
    sharded: bool = False,
    share: float = 1.0,
    copies: float = COPIES,
) -> Estimate:
    """Estimate the memory of training from passes over one and over two sequences of fake tensors.

    Args:
        make: Function that constructs the network.
        graph: The forward process.
        head: The map from logits to log-scores.
        length: Tokens per sequence.
        bf16: Whether the network runs in bfloat16 (autocast).
        processes: Number of processes; with several, DDP keeps a copy of the gradients.
        sharded: Whether the processes divide weights, gradients, moments and average. Then two blocks, and what is
            outside of blocks, are counted whole with their gradients; the copy in bfloat16 is more than is gathered.
        share: Share of positions in the loss, from 0 to 1; 1 is the worst case.
        copies: Float32 copies of the weights that are kept.

    Raises:
        Exception: The network reads the values of its tensors; the type depends on the network.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = ScoreModel(make(), graph, head)
        size = bytes_of(model)
        inside = [bytes_of(block) for block in blocks(model.backbone)]
        gathered = 2 * (size - sum(inside) + 2 * max(inside, default=0))
        for parameter in model.backbone.parameters():
            parameter.grad = torch.zeros_like(parameter)  # allocated now, so that a pass does not count it
        one, two = (peak_bytes(model, length, sequences, share, bf16) for sequences in (1, 2))
    graph.zero_grad()  # the graph has real tensors
    kept = size * copies // processes + gathered if sharded else size * (copies + (processes > 1))
    return Estimate(int(kept), 2 * one - two, two - one)


def bytes_of(module: nn.Module) -> int:
    """Bytes of the parameters of a module."""
    return sum(p.numel() * p.element_size() for p in module.parameters())


def device_memory() -> int | None:
    """Bytes of the smallest visible GPU; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))


def check(estimate: Estimate, sequences: int, memory: int) -> None:
    """Check that passes over `sequences` sequences fit into `memory` bytes.

    Raises:
        UserError: They do not; the message has the breakdown and the microbatch that would fit.
    """
    largest = estimate.max_sequences(memory)
    if sequences <= largest:
        return
    fits = max((n for n in range(1, largest + 1) if sequences % n == 0), default=0)
    advice = f"Set training.microbatch={fits} and leave training.accum at 1"
    if not fits:
        advice = "Not even one sequence fits: lower data.length, use a smaller model, or set training.precision=bf16"
    raise UserError(
        f"Training would run out of memory. The smallest GPU has {memory / GIB:.1f} GiB; with every position in the "
        f"loss, training needs {estimate.describe(sequences)}; CUDA itself needs {RESERVED / GIB:.0f} GiB. {advice}."
    )


@contextmanager
def explained(what: str, lower: str) -> Iterator[None]:
    """Context that turns out-of-memory errors into UserErrors.

    Args:
        what: Name of the operation, for the message: "Out of memory in {what}".
        lower: Settings to reduce, for the message: "Lower {lower}."

    Raises:
        UserError: A GPU or the host is out of memory. (`errors` handles the system's ENOMEM.)
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"Out of memory in {what}: {first} Lower {lower}.") from error


def is_exhausted(error: BaseException) -> bool:
    """Whether an exception is an out-of-memory error: of torch on a GPU, of its CPU allocator, or of Python."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in message for words in ("can't allocate memory", "out of memory", "alloc_failed")
    )


class _Live(TorchDispatchMode):
    """Tracks the bytes of live tensors created in this context, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Exclude tensors from the count."""
        self._seen.update(tensor.untyped_storage()._cdata for tensor in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is torch.ops.aten.sum and kwargs.get("dtype", args[0].dtype) != args[0].dtype:
            self.peak = max(
                self.peak, self.now + args[0].numel() * kwargs["dtype"].itemsize
            )  # the input is converted first
        if func is torch.ops.sedd_core.linear_entropy.default:
            self.peak = max(self.peak, self.now + workspace(len(args[0]), args[1], args[11]))
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self._seen:
            return
        self._seen.add(name)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, name, size)

    def _remove(self, name: int, size: int) -> None:
        self._seen.discard(name)
        self.now -= size


def peak_bytes(model: ScoreModel, length: int, sequences: int, share: float, bf16: bool) -> int:
    """Peak bytes of one forward and backward pass of the loss, without the model's own tensors and gradients."""
    x = torch.zeros(sequences, length, dtype=torch.int64)
    level = NoiseLevel.of_sigma(torch.ones(sequences))
    count = round(sequences * length * share)
    with _Live() as live:
        live.leave_out(
            [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features = model.backbone(x, level.to(torch.float32), None).flatten(0, 1)[:count]
            x, level = x.flatten()[:count], level.pick(0).at(x.flatten()[:count])
            loss = model.entropy(features, x, x, level, torch.ones_like(level.sigma)).sum()
        del features
        loss.backward()
    return live.peak
