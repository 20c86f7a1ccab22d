"""Reading ahead: the same batches as without it, errors where they belong, and a thread that ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from sedd_core import UserError
from sedd_core.stages import Batch, Sequences
from sedd_core.training import trainer as trainers
from sedd_core.training.prefetch import AHEAD, Prefetch
from sedd_core.training.trainer import Trainer
from tests.support.trainers import trainer

CPU = torch.device("cpu")
PATIENCE = 30.0
"""Seconds after which a thread counts as stuck."""


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Reader:
    """Reads (step, number) as one token each, and notes what it reads."""

    def __init__(self, fails_at: tuple[int, int] | None = None) -> None:
        self.read: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self.fails_at = fails_at
        self.changed = threading.Condition()

    def __call__(self, step: int, number: int) -> Batch:
        with self.changed:
            self.read.append((step, number))
            self.changed.notify()
        self.threads.add(threading.get_ident())
        if (step, number) == self.fails_at:
            raise UserError("The disk is gone.")
        return Batch(torch.tensor([[step, number]]))

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.read) >= count, PATIENCE)


def taken(prefetch: Prefetch, *addresses: tuple[int, int]) -> None:
    for address in addresses:
        assert prefetch.take(*address).tokens.tolist() == [[*address]]


def test_batches_are_read_in_order_in_one_other_thread() -> None:
    reader = Reader()
    with Prefetch(reader, 2, 3, CPU) as prefetch:
        taken(prefetch, (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1))
    assert reader.read == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]  # each once, none beyond the last step
    assert len(reader.threads) == 1
    assert threading.get_ident() not in reader.threads


def test_it_reads_ahead_but_not_further_than_its_bound() -> None:
    reader = Reader()
    with Prefetch(reader, 1, 1000, CPU) as prefetch:
        prefetch.take(5, 0)
        reader.wait_for(AHEAD)
    assert reader.read == [(step, 0) for step in range(5, 5 + AHEAD)]


def test_a_batch_out_of_order_is_the_one_addressed() -> None:
    with Prefetch(Reader(), 2, 1000, CPU) as prefetch:
        taken(prefetch, (7, 0), (7, 1), (3, 0), (3, 1), (3, 1), (4, 0), (500, 1), (1000, 0), (0, 0))


def test_an_error_is_raised_once_where_the_batch_is_taken() -> None:
    reader = Reader(fails_at=(0, 1))
    with Prefetch(reader, 2, 10, CPU) as prefetch:
        taken(prefetch, (0, 0))
        with pytest.raises(UserError, match=r"^The disk is gone\.$"):
            prefetch.take(0, 1)
        reader.fails_at = None
        taken(prefetch, (0, 1), (1, 0))  # a later call reads again


def test_leaving_does_not_read_what_is_no_longer_needed() -> None:
    gate, reader = threading.Event(), Reader()

    def read(step: int, number: int) -> Batch:
        batch = reader(step, number)
        assert step < 1 or gate.wait(PATIENCE)
        return batch

    with Prefetch(read, 1, 1000, CPU) as prefetch:
        prefetch.take(0, 0)
        reader.wait_for(2)
        threading.Timer(0.2, gate.set).start()  # leaving waits for the read that has begun
    assert reader.read == [(0, 0), (1, 0)]


def test_on_a_gpu_batches_come_from_pinned_memory_of_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[int, torch.device]] = []
    reader, device = Reader(), torch.device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda own: chosen.append((threading.get_ident(), own)))
    monkeypatch.setattr(Tensor, "pin_memory", lambda part: part + 100)
    with Prefetch(reader, 1, 2, device) as prefetch:
        assert prefetch.take(0, 0).tokens.tolist() == [[100, 100]]
    assert set(chosen) == {(*reader.threads, device)}


@pytest.mark.parametrize("pinned", [True, False])
def test_only_pinned_memory_is_copied_without_waiting(pinned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from other memory would be staged, and one back to the CPU must be waited for."""
    asked: list[tuple[object, bool]] = []
    monkeypatch.setattr(Tensor, "is_pinned", lambda part: pinned)
    monkeypatch.setattr(Tensor, "to", lambda part, device, non_blocking: asked.append((device, non_blocking)))
    Batch(torch.zeros(1, 2, dtype=torch.int64), text=torch.ones(1, 2, dtype=torch.bool)).to("cuda")
    assert asked == [("cuda", pinned)] * 2


def losses(run: Trainer, steps: range) -> list[float]:
    return [run.step(step).loss for step in steps]


def in_parts(seed: int = 0) -> Trainer:
    run = trainer("absorb", "loglinear", scale=True, seed=seed)
    run.training = replace(run.training, steps=20)
    run.microbatches = [torch.arange(0, 16, 2), torch.arange(1, 16, 2)]
    return run


def test_training_is_the_same_with_and_without() -> None:
    """Through the end of an epoch (100 sequences in batches of 16), with two microbatches, and from a later step."""
    plain = losses(in_parts(), range(2, 10))
    ahead = in_parts()
    with ahead.reading_ahead():
        assert losses(ahead, range(2, 6)) == plain[:4]
        ahead.batch_at(0)  # reads another epoch's order meanwhile
        assert losses(ahead, range(6, 10)) == plain[4:]
    again = in_parts()
    assert losses(again, range(2, 10)) == plain


class Broken(Sequences):
    """A split on a disk that is gone."""

    def __len__(self) -> int:
        return 100

    def batch(self, indices: Tensor) -> Batch:
        raise UserError("The disk is gone.")


def test_an_error_of_the_thread_ends_the_step_and_leaves_a_trainer_that_reads_by_itself() -> None:
    run = in_parts()
    data, run.data = run.data, Broken()
    with run.reading_ahead(), pytest.raises(UserError, match=r"^The disk is gone\.$"):
        run.step(0)
    run.data = data
    run.step(1)


def test_the_wait_for_data_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only reading moves."""
    clock = SimpleNamespace(now=0.0)
    run = in_parts()
    read: Callable[[int, int], Batch] = run._read

    def slowly(step: int, number: int) -> Batch:
        clock.now += 3.0
        return read(step, number)

    monkeypatch.setattr(trainers, "time", SimpleNamespace(monotonic=lambda: clock.now))
    run._fetch = slowly
    assert run.step(0).data_seconds == 6.0
