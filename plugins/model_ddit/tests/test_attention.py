"""Attention backends, documents in a row, and activation checkpointing: each against what it must equal."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sedd_core import UserError, plugin
from sedd_core.stages import Backbone, NoiseLevel

SIZES = {"hidden_size": 64, "n_blocks": 2, "n_heads": 4, "cond_dim": 16}
LENGTHS = ((5, 1, 10), (16,), (3, 9, 4))
"""Lengths of the documents of three rows."""
DOCUMENTS = torch.stack([torch.arange(len(row)).repeat_interleave(torch.tensor(row)) for row in LENGTHS])
X = torch.randint(11, DOCUMENTS.shape, generator=torch.Generator().manual_seed(1))


def network(**arguments: Any) -> Backbone:
    model = plugin("model_ddit")(**{"num_states": 11, **SIZES, "dropout": 0.0, **arguments})
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def level_of(x: Tensor) -> NoiseLevel:
    return NoiseLevel.of_sigma(torch.full((len(x),), 0.5)).to(torch.float32)


def logits(model: Backbone, x: Tensor = X, documents: Tensor | None = None) -> Tensor:
    return model.logits(model(x, level_of(x), None, documents))


def apart(model: Backbone) -> list[Tensor]:
    """The logits of each document, run in a row of its own."""
    return [
        logits(model, document[None])[0]
        for row, lengths in zip(X, LENGTHS, strict=True)
        for document in row.split(lengths)
    ]


def gradient(model: Backbone, value: Tensor) -> Tensor:
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad((value.float() * weights).sum(), tuple(model.parameters()))
    return torch.cat([part.flatten() for part in found])


def test_documents_of_a_row_are_those_of_rows_of_their_own() -> None:
    model = network()
    together, separate = logits(model, documents=DOCUMENTS).flatten(0, 1), torch.cat(apart(model))
    torch.testing.assert_close(together, separate, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient(model, together), gradient(model, separate), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(model).flatten(0, 1), separate, atol=0.1)


@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_is_the_reference(documents: Tensor | None) -> None:
    """Forward alone: torch has no backward pass of it on a CPU."""
    with torch.no_grad():
        found = logits(network(attention="flex"), documents=documents)
        torch.testing.assert_close(found, logits(network(), documents=documents), rtol=1e-5, atol=1e-5)


def test_flex_does_not_train_on_a_cpu() -> None:
    with pytest.raises(UserError, match=r"trains on a GPU only.*Set model.attention=sdpa"):
        logits(network(attention="flex"), documents=DOCUMENTS)


class StandIn:
    """flash-attn's two functions, computed from exactly what they are handed."""

    def __init__(self, with_lse: bool) -> None:
        self.with_lse = with_lse
        self.calls: list[str] = []

    def result(self, out: Tensor) -> Any:
        return (out, out.new_zeros(out.shape[:-1])) if self.with_lse else out

    def check(self, dimensions: int, *tensors: Tensor) -> None:
        for tensor in tensors:
            assert tensor.ndim == dimensions
            assert tensor.dtype == torch.bfloat16
            assert tensor.stride(-1) == 1
            assert tensor.shape == tensors[0].shape

    def flash_attn_func(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
        self.calls.append("dense")
        self.check(4, q, k, v)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        return self.result(scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous())

    def flash_attn_varlen_func(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
    ) -> Any:
        self.calls.append("varlen")
        self.check(3, q, k, v)
        for starts, longest in ((cu_seqlens_q, max_seqlen_q), (cu_seqlens_k, max_seqlen_k)):
            assert starts.dtype == torch.int32
            assert starts.is_contiguous()
            assert (starts[0], starts[-1]) == (0, len(q))
            assert isinstance(longest, int)
            assert 1 <= int(starts.diff().min()) <= int(starts.diff().max()) <= longest
        parts = zip(*(part.split(cu_seqlens_q.diff().tolist()) for part in (q, k, v)), strict=True)
        outputs = [scaled_dot_product_attention(*(p.transpose(0, 1) for p in part)).transpose(0, 1) for part in parts]
        return self.result(torch.cat(outputs).contiguous())


@pytest.fixture(params=["flash_attn", "flash_attn.cute"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """flash-attn 2 or 4 as if installed."""
    stand_in = StandIn(with_lse=request.param == "flash_attn.cute")
    package, module = ModuleType("flash_attn"), ModuleType(request.param)
    module = package if request.param == "flash_attn" else module
    for name in ("flash_attn_func", "flash_attn_varlen_func"):
        setattr(module, name, getattr(stand_in, name))
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, request.param, module)
    flash = importlib.reload(importlib.import_module("model_ddit.flash"))
    yield stand_in
    monkeypatch.undo()
    importlib.reload(flash)


@pytest.mark.parametrize("documents", [None, DOCUMENTS])
def test_flash_is_the_reference(documents: Tensor | None, kernels: StandIn) -> None:
    found, expected = network(attention="flash"), network()
    with torch.autocast("cpu", torch.bfloat16):
        values = logits(found, documents=documents), logits(expected, documents=documents)
    torch.testing.assert_close(values[0], values[1], rtol=0.02, atol=0.05)
    gradients = gradient(found, values[0]), gradient(expected, values[1])
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[1].norm()
    assert kernels.calls == 2 * ["dense" if documents is None else "varlen"]


def test_flash_refuses_to_train_in_float32_and_evaluates_as_sdpa_does(kernels: StandIn) -> None:
    model = network(attention="flash")
    with pytest.raises(UserError, match=r"half precision, but training is in float32: set training.precision=bf16"):
        logits(model)
    for documents in (None, DOCUMENTS):
        with torch.no_grad():
            assert torch.equal(logits(model, documents=documents), logits(network(), documents=documents))
    assert not kernels.calls


def test_without_flash_attn_the_message_says_what_to_install() -> None:
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(UserError, match=r"pip install 'sedd-model-ddit\[flash\]'"),
    ):
        logits(network(attention="flash"))


@pytest.mark.parametrize("hidden_size", [48, 1056])
def test_heads_without_a_flash_kernel_are_refused(hidden_size: int) -> None:
    sizes = {"num_states": 11, "hidden_size": hidden_size, "n_heads": 4, "n_blocks": 1}
    with torch.device("meta"), pytest.raises(ValueError, match="a multiple of 8 up to 256"):
        plugin("model_ddit")(**sizes, attention="flash")


@pytest.mark.gpu
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.parametrize("attention", ["sdpa", "flash", "flex"])
def test_backends_on_a_gpu(attention: Any, documents: Tensor | None) -> None:
    """Real kernels, forward and backward in bf16, against the reference on the CPU in float32."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    model, reference = network(attention=attention).cuda(), network()
    if attention == "flash" and importlib.import_module("model_ddit.flash").KERNELS is None:
        pytest.skip("needs flash-attn 2 or 4")
    x, rows = (
        X.repeat(1, 16),
        None if documents is None else documents.repeat(1, 16).diff(dim=1, prepend=documents[:, :1]),
    )
    rows = None if rows is None else (rows != 0).cumsum(1)
    with torch.autocast("cuda", torch.bfloat16):
        features = model(
            x.cuda(), NoiseLevel(*(part.cuda() for part in level_of(x))), None, rows if rows is None else rows.cuda()
        )
        value = model.logits(features)
    expected = logits(reference, x, rows)
    assert (value.float().cpu() - expected).norm() < 0.03 * expected.norm()
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad((value.float() * weights.cuda()).sum(), tuple(model.parameters()))
    gradients = torch.cat([part.float().cpu().flatten() for part in found]), gradient(reference, expected)
    assert (gradients[0] - gradients[1]).norm() < 0.05 * gradients[1].norm()


def pass_of(checkpointing: bool, bf16: bool) -> tuple[Tensor, Tensor, int]:
    """Logits, gradient, and bytes saved for the backward pass, with dropout."""
    model, saved = network(dropout=0.3, activation_checkpointing=checkpointing), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(3)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        value = logits(model, documents=DOCUMENTS)
    kept = sum(saved.values())
    torch.manual_seed(4)  # what follows draws other numbers; the recomputation must not
    return value, gradient(model, value), kept


@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_saves_memory_and_changes_no_number(bf16: bool) -> None:
    (value, slope, kept), (other, other_slope, less) = pass_of(False, bf16), pass_of(True, bf16)
    assert torch.equal(value, other)
    assert torch.equal(slope, other_slope)
    assert less < 0.4 * kept


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
def test_the_compiler_takes_the_trunk_as_one_graph(documents: Tensor | None, checkpointing: bool) -> None:
    model, level = network(activation_checkpointing=checkpointing), level_of(X)
    torch._dynamo.reset()
    found = torch._dynamo.explain(model)(X, level, None, documents)
    assert (found.graph_break_count, found.graph_count) == (0, 1), found.break_reasons
