"""Conformance check for data plugins."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Int64
from torch import Tensor

from ..stages import Batch, Data, Sequences, Split
from .reads import recorded_reads

MOST = 2000
"""Sequences of each split that are compared one by one; of longer splits, so many spread evenly over it."""
SPLITS: tuple[Split, ...] = ("train", "valid")


def check_data(build: Callable[[], Data], *, other: Data | None = None, repeats: bool = False) -> None:
    """Check that a data source keeps the contract that training, validation and checkpoints rely on.

    The data is read: use a small local source.

    Args:
        build: Makes the data source; it is called twice, and both must be the same.
        other: The source with another content or tokenization, whose fingerprint must differ; None: not checked.
        repeats: Whether the content itself repeats, so that a validation sequence may occur in the training split.

    Raises:
        AssertionError: A property does not hold.
    """
    data, twin = _built(build), build()
    vocab_size = _check_codec(data)
    fingerprint = data.fingerprint()
    splits = {name: data.split(name) for name in SPLITS}
    for name in SPLITS:
        sequences = splits[name]
        where = f"the {name} split"
        _check_spread(sequences, where)
        indices = sequences.spread(MOST)
        batch = sequences.batch(indices)
        _check_batch(batch, sequences, len(indices), data.length, vocab_size, where)
        _check_order(sequences, indices, batch, where)
        _check_same(twin.split(name).batch(indices), batch, f"two equal instances must have the same {name} split")
        _check_text(data, batch, where)
    _check_disjoint(splits["train"], splits["valid"], repeats)
    _check_fingerprints(data, twin, fingerprint, other)


def _built(build: Callable[[], Data]) -> Data:
    """The data source, which must be constructed and described without reading anything."""
    with recorded_reads() as opened:
        data = build()
        assert not opened, f"construction must not read anything, but opens {opened[0]}; read in split() and codec()"
        for name in ("describe", "vocab_size"):
            getattr(data, name)()
            assert not opened, f"{name}() must not read any data, but opens {opened[0]}"
    for name, text in (("describe()", data.describe()), ("title", data.title)):
        assert len(text.strip().splitlines()) == 1, f"{name} must be one line, not {text!r}"
    assert isinstance(data.length, int), f"length must be an int, not {data.length!r}"
    assert data.length >= 1, f"length must be at least 1, not {data.length}"
    return data


def _check_codec(data: Data) -> int:
    """The vocabulary size, on which vocab_size(), codec() and end() must agree."""
    size, stated, end = data.codec().vocab_size, data.vocab_size(), data.end()
    assert stated in (None, size), f"vocab_size() must be None or that of codec(), {size:,}, not {stated:,}"
    assert end is None or 0 <= end < size, f"end() must be a token below {size:,}, not {end}"
    return size


def _check_spread(sequences: Sequences, where: str) -> None:
    """Check that a split has sequences, and that spread(count) names distinct ones, evenly from end to end."""
    total = len(sequences)
    assert total >= 1, f"{where} must have at least one sequence"
    for asked in (1, total // 2 + 1, total, total + 5):
        indices, count = sequences.spread(asked), min(asked, total)
        rule = f"spread({asked}) of {total:,} sequences of {where} must be"
        assert indices.shape == (count,), f"{rule} {count} indices, not of shape {list(indices.shape)}"
        assert indices.dtype == torch.int64, f"{rule} int64, not {indices.dtype}"
        gaps, shown = indices.diff(), f"{indices[0].item():,} ... {indices[-1].item():,}"
        assert (torch.cat([indices.new_tensor([-1]), indices, indices.new_tensor([total])]).diff() > 0).all(), (
            f"{rule} distinct, in order and below {total:,}, not {shown}"
        )
        assert max(indices[0].item(), total - 1 - indices[-1].item()) <= total / count, (
            f"{rule} over the whole split, not {shown}"
        )
        assert not len(gaps) or gaps.max() - gaps.min() <= 1, (
            f"{rule} even, but distances lie between {gaps.min().item()} and {gaps.max().item()}"
        )


def _check_batch(batch: Batch, sequences: Sequences, count: int, length: int, vocab_size: int, where: str) -> None:
    """Check shapes, types and ranges of a batch of `count` sequences."""
    expected, tokens = (count, length), batch.tokens
    assert tokens.shape == expected, f"tokens of {where} must have shape {list(expected)}, not {list(tokens.shape)}"
    assert tokens.dtype == torch.int64, f"tokens of {where} must be int64, not {tokens.dtype}"
    assert ((tokens >= 0) & (tokens < vocab_size)).all(), (
        f"tokens of {where} must lie between 0 and {vocab_size - 1:,}, the codec's last, but range from "
        f"{tokens.min().item():,} to {tokens.max().item():,}"
    )
    for name, mask in (("loss_mask", batch.loss_mask), ("text", batch.text)):
        assert mask is None or (mask.shape == expected and mask.dtype == torch.bool), (
            f"{name} of {where} must be None or bool {list(expected)}, not {mask.dtype} {list(mask.shape)}"
        )
    empty = int((~batch.full_text_mask().any(-1)).sum())
    assert not empty, f"each sequence of {where} must have a position of text, but {empty} have none"
    assert batch.full_loss_mask().all() or sequences.conditioned_on, (
        f"loss_mask of {where} leaves positions out, so conditioned_on must say what they tell, such as 'lengths'"
    )
    documents = batch.documents
    assert documents is None or (documents.shape == expected and documents.dtype == torch.int64), (
        f"documents of {where} must be None or int64 {list(expected)}, not {documents.dtype} {list(documents.shape)}"
    )
    assert documents is None or ((documents[:, 0] == 0) & (documents.diff() >= 0).all(-1)).all(), (
        f"documents of {where} must begin at 0 in each sequence and never decrease"
    )
    assert documents is None or sequences.conditioned_on, (
        f"documents of {where} tell the network where they end, so conditioned_on must say so, such as 'boundaries'"
    )
    assert batch.cond is None or batch.cond.shape[:1] == (count,), (
        f"cond of {where} must have {count} conditions, one per sequence, not shape {list(batch.cond.shape)}"
    )


def _check_order(sequences: Sequences, indices: Int64[Tensor, " n"], batch: Batch, where: str) -> None:
    """Check that a sequence is the same in any batch, and at any position of it."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(indices), generator=generator)
    rule = f"sequences of {where} must not depend on their batch"
    _check_same(sequences.batch(indices[order]), _picked(batch, order), f"{rule}: in another order")
    repeated = order[:1].repeat(2)
    _check_same(sequences.batch(indices[repeated]), _picked(batch, repeated), f"{rule}: one index twice")
    for position in order[:8].tolist():
        one = torch.tensor([position])
        _check_same(sequences.batch(indices[one]), _picked(batch, one), f"{rule}: index {indices[position]} alone")
    parts = order[:8].split(1)
    with ThreadPoolExecutor(len(parts)) as threads:  # training reads ahead in one, beside evaluations
        for part, found in zip(parts, threads.map(lambda part: sequences.batch(indices[part]), parts), strict=True):
            _check_same(found, _picked(batch, part), f"sequences of {where} must not depend on other threads that read")


def _picked(batch: Batch, order: Int64[Tensor, " n"]) -> Batch:
    return Batch(*(None if part is None else part[order] for part in batch))  # pyright: ignore[reportArgumentType]


def _check_same(found: Batch, expected: Batch, rule: str) -> None:
    """Check that two batches mean the same; a mask that is None means the same as a full one."""
    pairs = {
        "tokens": (found.tokens, expected.tokens),
        "loss_mask": (found.full_loss_mask(), expected.full_loss_mask()),
        "text": (found.full_text_mask(), expected.full_text_mask()),
        "cond": (found.cond, expected.cond),
        "documents": (found.documents, expected.documents),
    }
    for name, (one, two) in pairs.items():
        same = one is two if one is None or two is None else torch.equal(one, two)
        assert same, f"{rule}, {name} differ" + ("" if one is None or two is None else _first(one, two))


def _first(one: Tensor, two: Tensor) -> str:
    """Where two tensors differ first, as a clause."""
    if one.shape != two.shape:
        return f": shape {list(one.shape)} and {list(two.shape)}"
    index = tuple((one != two).nonzero()[0].tolist())
    return f", first at {list(index)}: {one[index].item()} and {two[index].item()}"


def _check_text(data: Data, batch: Batch, where: str) -> None:
    """Check that tokens decode, and that encoding their text gives tokens of the same text."""
    codec = data.codec()
    for row in batch.tokens[:8].tolist():
        text = codec.decode(row)
        again = codec.decode(codec.encode(text))
        assert again == text, (
            f"codec() must encode what it decodes: {text[:60]!r} of {where} comes back as {again[:60]!r}"
        )


def _check_disjoint(train: Sequences, valid: Sequences, repeats: bool) -> None:
    """Check that no validation sequence, of up to `MOST`, is a training sequence."""
    held_out = {tuple(row) for row in valid.batch(valid.spread(MOST)).tokens.tolist()}
    shared = 0
    for indices in torch.arange(0 if repeats else len(train)).split(MOST):
        shared += sum(tuple(row) in held_out for row in train.batch(indices).tokens.tolist())
    assert not shared, (
        f"training and validation must be disjoint, but {shared} of {len(train):,} training sequences are validation "
        "sequences; look at the cut between the splits, or give check_data a content that does not repeat"
    )


def _check_fingerprints(data: Data, twin: Data, before: str, other: Data | None) -> None:
    """Check that fingerprints are functions of the content."""
    assert before, "fingerprint() must not be empty"
    assert data.fingerprint() == before, "fingerprint() must be the same after the data has been read"
    assert twin.fingerprint() == before, (
        "fingerprint() must be the same for two equal instances; look for paths, times, or hash(), which differs by "
        "process"
    )
    assert other is None or other.fingerprint() != before, "fingerprint() must differ for another content"
