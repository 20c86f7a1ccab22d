"""`check_data` with planted faults: each is found, and the message names the rule."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sedd_core.stages import Batch, Data, Sequences, Split
from sedd_core.testing import check_data
from sedd_core.text import Codec, byte_codec

LENGTH = 4


class Rows(Sequences):
    """Sequences of 20 different rows of bytes."""

    conditioned_on = "lengths"

    def __init__(self, first: int, count: int = 20) -> None:
        self.rows = (torch.arange(count * LENGTH) * 7 + first).remainder(127).view(count, LENGTH)
        self.loss_mask = torch.arange(LENGTH).expand(count, -1) < 3

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Tensor) -> Batch:
        mask, documents = self.loss_mask[indices], (~self.loss_mask[indices]).long()
        return Batch(self.rows[indices], mask, cond=indices, text=mask, documents=documents)


class Sound(Data):
    """A data source that keeps its contract."""

    rows: Callable[..., Rows] = Rows
    valid_rows: Callable[..., Rows] | None = None

    def __init__(self, content: int = 0) -> None:
        self.content, self.length = content, LENGTH

    def describe(self) -> str:
        return "rows of bytes"

    def vocab_size(self) -> int | None:
        return 256

    def codec(self) -> Codec:
        return byte_codec()

    def split(self, name: Split) -> Sequences:
        rows = type(self).rows if name == "train" else type(self).valid_rows or type(self).rows
        return rows(self.content if name == "train" else self.content + 1)

    def fingerprint(self) -> str:
        return f"rows {self.content}"


class ReadsFile(Sound):
    def __init__(self) -> None:
        super().__init__()
        with suppress(OSError):
            self.text = Path("corpus.txt").read_text()


class ListsFolder(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.files = sorted(Path().glob("*.txt"))


class Connects(Sound):
    def __init__(self) -> None:
        super().__init__()
        with suppress(OSError), socket.create_connection(("127.0.0.1", 9)):
            pass


class ReadsToDescribe(Sound):
    def describe(self) -> str:
        with suppress(OSError):
            return Path("corpus.txt").read_text()
        return "nothing"


class ReadsForSize(Sound):
    def vocab_size(self) -> int | None:
        with suppress(OSError), Path("vocab.txt").open() as file:
            return len(file.readlines())
        return None


class TwoLines(Sound):
    def describe(self) -> str:
        return "rows\nof bytes"


class NoTitle(Sound):
    title = ""  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


class NoLength(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.length = 0


class OtherSize(Sound):
    def vocab_size(self) -> int | None:
        return 257


class EndsOutside(Sound):
    def end(self) -> int | None:
        return 256


class Unreadable(Sound):
    def codec(self) -> Codec:
        codec = byte_codec()
        codec.decode = lambda ids: "".join(chr(100 + i) for i in ids)  # pyright: ignore[reportAttributeAccessIssue]
        return codec


class RandomPrint(Sound):
    def fingerprint(self) -> str:
        return f"rows {id(self)}"


class EmptyPrint(Sound):
    def fingerprint(self) -> str:
        return ""


class ConstantPrint(Sound):
    def fingerprint(self) -> str:
        return "rows"


class ReadPrint(Sound):
    """Its fingerprint is another one once a split has been read."""

    read = False

    def split(self, name: Split) -> Sequences:
        self.read = True
        return super().split(name)

    def fingerprint(self) -> str:
        return f"rows {self.content} {self.read}"


class RandomRows(Sound):
    def split(self, name: Split) -> Sequences:
        return Rows(torch.randint(100, ()).item())  # pyright: ignore[reportArgumentType]


class SameSplits(Sound):
    def split(self, name: Split) -> Sequences:
        return super().split("train")


def with_rows(name: str, *, valid_alone: bool = False, **methods: object) -> type[Sound]:
    """A source whose sequences have some methods or attributes in place of the sound ones."""
    rows = type(name, (Rows,), methods)
    return type(name, (Sound,), {"valid_rows" if valid_alone else "rows": rows})


def changed(**change: Callable[[Batch, Tensor], object]) -> Callable[[Rows, Tensor], Batch]:
    """`Rows.batch` with some of its parts replaced."""

    def batch(self: Rows, indices: Tensor) -> Batch:
        sound = Rows.batch(self, indices)
        return sound._replace(**{part: value(sound, indices) for part, value in change.items()})  # pyright: ignore[reportArgumentType]

    return batch


def in_scratch(self: Rows, indices: Tensor) -> Batch:
    """`Rows.batch` through memory that all threads share."""
    self.scratch = Rows.batch(self, indices)  # pyright: ignore[reportAttributeAccessIssue]
    time.sleep(0.02)
    return self.scratch  # pyright: ignore[reportAttributeAccessIssue]


def spread_as(indices: Callable[[int, int], Tensor]) -> Callable[[Rows, int], Tensor]:
    return lambda self, count: indices(min(count, len(self)), len(self))


def full(batch: Batch, value: bool) -> Tensor:
    return torch.full_like(batch.tokens, value, dtype=torch.bool)


FAULTS = {
    ReadsFile: r"construction must not read anything, but opens corpus\.txt .*read in split\(\) and codec\(\)",
    ListsFolder: "construction must not read anything, but opens",
    Connects: r"construction must not read anything, but opens .*127\.0\.0\.1",
    ReadsToDescribe: r"describe\(\) must not read any data, but opens corpus\.txt",
    ReadsForSize: r"vocab_size\(\) must not read any data, but opens vocab\.txt",
    TwoLines: r"describe\(\) must be one line, not 'rows\\nof bytes'",
    NoTitle: "title must be one line, not ''",
    NoLength: "length must be at least 1, not 0",
    OtherSize: r"vocab_size\(\) must be None or that of codec\(\), 256, not 257",
    EndsOutside: r"end\(\) must be a token below 256, not 256",
    Unreadable: r"codec\(\) must encode what it decodes: .* of the train split comes back as",
    RandomPrint: r"fingerprint\(\) must be the same for two equal instances; look for paths, times",
    EmptyPrint: r"fingerprint\(\) must not be empty",
    ConstantPrint: r"fingerprint\(\) must differ for another content",
    ReadPrint: r"fingerprint\(\) must be the same after the data has been read",
    RandomRows: "two equal instances must have the same train split, tokens differ, first at",
    SameSplits: "training and validation must be disjoint, but 20 of 20 training sequences",
    with_rows("Empty", __len__=lambda self: 0): "the train split must have at least one sequence",
    with_rows("SpreadsFew", spread=spread_as(lambda n, total: torch.arange(n // 2))): "must be 1 indices, not of shape",
    with_rows(
        "SpreadsInt32", spread=spread_as(lambda n, total: torch.arange(n).int())
    ): "must be int64, not torch.int32",
    with_rows("SpreadsTwice", spread=spread_as(lambda n, total: torch.zeros(n).long())): "must be distinct, in order",
    with_rows(
        "SpreadsBeyond", spread=spread_as(lambda n, total: torch.arange(n) * total // n + 1)
    ): "below 20, not 1 ... 20",
    with_rows("SpreadsFirst", spread=spread_as(lambda n, total: torch.arange(n))): "over the whole split, not 0 ... 10",
    with_rows("SpreadsUnevenly", spread=spread_as(lambda n, total: torch.arange(total)[[*range(n - 1), -1]])): (
        r"spread\(11\) .* must be even, but distances lie between 1 and 10"
    ),
    with_rows("Int32", batch=changed(tokens=lambda b, i: b.tokens.int())): "tokens of the train split must be int64",
    with_rows(
        "Long", batch=changed(tokens=lambda b, i: b.tokens.repeat(1, 2))
    ): r"must have shape \[20, 4\], not \[20, 8\]",
    with_rows("Beyond", batch=changed(tokens=lambda b, i: b.tokens + 200)): "must lie between 0 and 255.*range from 2",
    with_rows(
        "ValidBeyond", valid_alone=True, batch=changed(tokens=lambda b, i: -b.tokens)
    ): "tokens of the valid split",
    with_rows("IntMask", batch=changed(loss_mask=lambda b, i: b.loss_mask.int())): "loss_mask .* must be None or bool",
    with_rows("ShortText", batch=changed(text=lambda b, i: b.text[:, :2])): r"text .* bool \[20, 4\], not .*\[20, 2\]",
    with_rows(
        "NoText", batch=changed(text=lambda b, i: full(b, False))
    ): "must have a position of text, but 20 have none",
    with_rows("Unsaid", conditioned_on=""): "so conditioned_on must say what they tell",
    with_rows(
        "OneCond", batch=changed(cond=lambda b, i: i[:1])
    ): "must have 20 conditions, one per sequence, not shape",
    with_rows(
        "ShortDocuments", batch=changed(documents=lambda b, i: b.documents[:1])
    ): "documents of .* must be None or",
    with_rows("LaterDocuments", batch=changed(documents=lambda b, i: b.documents + 1)): "must begin at 0",
    with_rows(
        "FallingDocuments", batch=changed(documents=lambda b, i: (torch.arange(LENGTH) == 1).long().expand_as(b.tokens))
    ): "never decrease",
    with_rows(
        "UnsaidDocuments", batch=changed(loss_mask=lambda b, i: full(b, True)), conditioned_on=""
    ): "documents of .* so conditioned_on must say so",
    with_rows("DocumentsCount", batch=changed(documents=lambda b, i: b.documents * len(i))): "documents differ",
    with_rows("Sorts", batch=changed(tokens=lambda b, i: b.tokens.sort(0).values)): "depend on their batch",
    with_rows("Rolls", batch=changed(tokens=lambda b, i: b.tokens.roll(len(i), 1))): "index 4 alone|one index twice",
    with_rows("MaskRolls", batch=changed(loss_mask=lambda b, i: b.loss_mask.roll(len(i), 1))): "loss_mask differ",
    with_rows("CondCounts", batch=changed(cond=lambda b, i: torch.arange(len(i)))): "in another order, cond differ",
    with_rows("CondOfMany", batch=changed(cond=lambda b, i: i if len(i) > 1 else None)): "alone, cond differ$",
    with_rows("Numbers", batch=changed(text=lambda b, i: full(b, True) if len(i) > 2 else None)): "twice, text differ",
    with_rows("Shares", batch=in_scratch): "must not depend on other threads that read, tokens differ",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_wrong_data_is_detected(fault: type[Sound]) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_data(fault, other=fault() if fault is ConstantPrint else None)


def test_data_without_faults_passes() -> None:
    check_data(Sound, other=Sound(content=5))
    check_data(with_rows("Plain", batch=changed(loss_mask=lambda b, i: None, text=lambda b, i: None)))


def test_content_that_repeats_is_only_allowed_if_it_is_said() -> None:
    check_data(SameSplits, repeats=True)
