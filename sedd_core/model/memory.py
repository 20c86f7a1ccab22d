"""Memory: what training takes on one device, counted without allocating it; and what to say when it is used up."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import UserError
from ..stages import Backbone, Graph
from .score import ScoreHead, ScoreModel

GIB = 2**30
RESERVED = GIB
"""Bytes for CUDA's context, its libraries' workspaces, and the allocator's gaps."""
COPIES = 5
"""Of the weights, in float32: themselves, their gradients, AdamW's two moments, the average."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of training on one device.

    kept: Weights, gradients, moments, average; in several processes, DDP's buckets.
    per_pass: Of each forward and backward pass, whatever its size: the weights in bfloat16.
    per_sequence: Activations of one sequence at their peak.
    """

    kept: int
    per_pass: int
    per_sequence: int

    def total(self, sequences: int) -> int:
        """Bytes with a pass over so many sequences."""
        return self.kept + self.per_pass + sequences * self.per_sequence

    def most(self, memory: int) -> int:
        """The most sequences for which `memory` bytes suffice; 0 where they do not for one."""
        return max(0, (memory - RESERVED - self.total(0)) // max(self.per_sequence, 1))

    def describe(self, sequences: int) -> str:
        """The sum for a pass over so many sequences, in GiB."""
        fixed = (self.kept + self.per_pass) / GIB
        return (
            f"{self.total(sequences) / GIB:.2f} GiB: {fixed:.2f} GiB for weights, gradients, AdamW's moments and the "
            f"average, {self.per_sequence / GIB:.3f} GiB per sequence, {sequences} sequences per pass"
        )


def estimate(
    make: Callable[[], Backbone],
    graph: Graph,
    head: ScoreHead,
    length: int,
    *,
    bf16: bool,
    processes: int = 1,
    share: float = 1.0,
) -> Estimate:
    """Count what training takes, by one pass over one and over two sequences of tensors that have no content.

    Args:
        make: Makes the network.
        graph: The forward process.
        head: From logits to log-scores.
        length: Tokens per sequence.
        bf16: Whether the network runs in bfloat16 (autocast).
        processes: Of the run; with several, DDP keeps a copy of the gradients.
        share: Share of the positions that count in the loss, from 0 to 1; 1 is the worst case.

    Raises:
        Exception: Whatever the network raises that looks at the content of its tensors.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = ScoreModel(make(), graph, head)
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        for parameter in model.backbone.parameters():
            parameter.grad = torch.zeros_like(parameter)  # what is kept is not counted twice
        one, two = (_peak(model, length, sequences, share, bf16) for sequences in (1, 2))
    graph.zero_grad()  # it is a real one
    return Estimate(size * (COPIES + (processes > 1)), 2 * one - two, two - one)


def device_memory() -> int | None:
    """Bytes of the smallest GPU that this process sees; None without one."""
    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))


def check(estimate: Estimate, sequences: int, memory: int) -> None:
    """UserError, with the sum and the microbatch that would fit, where a pass over `sequences` exceeds `memory`."""
    most = estimate.most(memory)
    if sequences <= most:
        return
    fits = max((n for n in range(1, most + 1) if sequences % n == 0), default=0)
    advice = f"Set training.microbatch={fits} and leave training.accum at 1"
    if not fits:
        advice = "Not one sequence fits: lower data.length, take a smaller model, or set training.precision=bf16"
    raise UserError(
        f"Training would run out of memory. A GPU here has {memory / GIB:.1f} GiB; with every position in the loss "
        f"training takes {estimate.describe(sequences)}; CUDA itself takes {RESERVED / GIB:.0f} GiB. {advice}."
    )


@contextmanager
def explained(what: str, lower: str) -> Iterator[None]:
    """Within: being out of memory is a UserError.

    Args:
        what: What is being done, to begin the message with.
        lower: The settings to lower, as in "Lower {lower}."

    Raises:
        UserError: There is no memory left, on a GPU or on the host. (For the system's ENOMEM: `errors`.)
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"Out of memory in {what}: {first} Lower {lower}.") from error


def is_exhausted(error: BaseException) -> bool:
    """Whether an exception says that memory is used up: torch's on a GPU, its allocator's on a CPU, Python's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in said for words in ("can't allocate memory", "out of memory", "alloc_failed")
    )


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors made within that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Do not count these."""
        self._seen.update(tensor.untyped_storage()._cdata for tensor in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is torch.ops.aten.sum and kwargs.get("dtype", args[0].dtype) != args[0].dtype:
            self.peak = max(self.peak, self.now + args[0].numel() * kwargs["dtype"].itemsize)  # it converts first
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


def _peak(model: ScoreModel, length: int, sequences: int, share: float, bf16: bool) -> int:
    """The most bytes of one forward and backward pass of the loss, beside the model's own tensors and gradients."""
    x = torch.zeros(sequences, length, dtype=torch.int64)
    sigma = torch.ones(sequences, dtype=torch.float64)
    rows = round(sequences * length * share)
    with _Live() as live:
        live.leave_out(
            [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features = model.backbone(x, sigma.float(), None).flatten(0, 1)[:rows]
            here, level = x.flatten()[:rows], sigma[:1].expand(rows)
            log_score = model.head(model.backbone.logits(features), here, level, model.graph)
            loss = model.graph.score_entropy(log_score, level, here, here).sum()
        del features, log_score
        loss.backward()
    return live.peak
