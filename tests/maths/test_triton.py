"""The Triton kernel of the score entropy: run by Triton's interpreter, and compiled for GPUs that are not here."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sedd_core.maths import linear_entropy as fused
from sedd_core.maths.logit_blocks import LogitBlocks
from tests.support.entropies import problem

pytest.importorskip("triton", reason="Triton exists for Linux alone")
KERNEL, BLOCKS = "sedd_core.maths.triton_kernel", "sedd_core.maths.triton_blocks"
SHARED_MEMORY = {80: 163, 90: 227, 100: 227}
"""KiB of shared memory that a program may have, by compute capability (CUDA programming guide)."""


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The blocks with a kernel that Triton's interpreter runs, three programs of it."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name in (KERNEL, BLOCKS):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(BLOCKS)
    monkeypatch.setattr(module, "processors", lambda device: 1)
    monkeypatch.setattr(module, "PROGRAMS_PER_PROCESSOR", 3)
    monkeypatch.setattr(fused, "BLOCK", 4)  # the last of three blocks is shorter
    yield module.TritonBlocks
    for name in (KERNEL, BLOCKS):
        sys.modules.pop(name)


def losses_and_gradients(
    blocks: type[LogitBlocks], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, *, full: bool, factor: float = 1.0
) -> list[Tensor]:
    """Losses, gradients of their sum and of a sum with unequal weights, of which one is negative.

    Without `full`, there is no bias, and all states but the last have pi 0, as absorb's tokens.
    """
    monkeypatch.setattr(fused, "blocks_for", lambda device, dtype: blocks)
    inputs, x, x0, form, components, spans = problem()
    inputs = [(factor * part).to(dtype).detach().requires_grad_() for part in inputs[: 2 + full]]
    if full:
        arguments = (*inputs, x, x0, form, components, spans, dtype)
    else:
        form = form._replace(pull=form.pull[:, :1])
        arguments = (*inputs, None, x, x0, form, components[:1], spans[:2], dtype)
    weights = torch.tensor([1.0, -0.5, 2.0, 0.0, 0.3, 1.0])
    losses = fused.linear_entropy(*arguments)
    equal = torch.autograd.grad(losses.sum(), inputs)
    unequal = torch.autograd.grad((fused.linear_entropy(*arguments) * weights).sum(), inputs)
    with torch.no_grad():
        assert torch.equal(fused.linear_entropy(*arguments), losses)
    return [losses.detach(), *equal, *unequal]


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    ("dtype", "factor", "tolerance"),
    [(torch.float32, 1.0, 2e-6), (torch.float16, 1.0, 2e-3), (torch.bfloat16, 1.0, 2e-2), (torch.float32, 4.5, 1e-4)],
    ids=["fp32", "fp16", "bf16", "logits above 64"],
)
def test_the_kernel_equals_the_chunked_path(
    dtype: torch.dtype, factor: float, tolerance: float, full: bool, interpreted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = losses_and_gradients(LogitBlocks, dtype, monkeypatch, full=full, factor=factor)
    found = losses_and_gradients(interpreted, dtype, monkeypatch, full=full, factor=factor)
    assert len(found) == 5 + 2 * full
    for value, right in zip(found, expected, strict=True):
        assert value.dtype == right.dtype
        assert (value - right).double().norm() <= tolerance * right.double().norm()


def test_neither_value_nor_gradient_sees_the_excluded_logit(interpreted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "blocks_for", lambda device, dtype: interpreted)
    inputs, x, x0, form, components, spans = problem()
    weight, features = (part.detach().float() for part in (inputs[1], inputs[0]))
    x, _ = torch.full_like(x, 10), form.pull[:, 0].zero_()
    bias = torch.zeros(11).requires_grad_()
    value = fused.linear_entropy(features, weight, bias, x, x0 % 10, form, components, spans, torch.float32)
    (gradient,) = torch.autograd.grad(value.sum(), bias)
    huge = torch.zeros(11).index_fill(0, torch.tensor(10), 1e30)
    assert gradient[10] == 0
    assert torch.equal(
        fused.linear_entropy(features, weight, huge, x, x0 % 10, form, components, spans, torch.float32), value
    )


def test_without_rows_there_is_nothing_to_visit(interpreted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "blocks_for", lambda device, dtype: interpreted)
    inputs, x, x0, form, components, spans = problem()
    features, *rest = (part.detach().float().requires_grad_() for part in inputs)
    form = fused.LinearForm(*(part[:0] for part in form))
    value = fused.linear_entropy(features[:0], *rest, x[:0], x0[:0], form, components, spans, torch.float32)
    assert all((gradient == 0).all() for gradient in torch.autograd.grad(value.sum(), rest))


COMPILE = """
import importlib.util, json, subprocess, sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
spec = importlib.util.spec_from_file_location("kernel", sys.argv[1])
kernel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)
folder, names = Path(sys.argv[2]), kernel.visit_block.arg_names
pointers = dict(bias="fp32", pi="fp32", x="i64", grow="fp32", log_grow="fp32", pull="fp32", shift="fp32", sums="fp64",
    d_bias="fp32")
found = []
for capability in (80, 90, 100):
    for dtype in ("bf16", "fp32"):
        for components, gradient, last in ((0, 1, 0), (1, 1, 0), (2, 1, 0), (1, 1, 1), (1, 0, 0)):
            constants = dict(LARGEST=64.0, COMPONENTS=components, STATES=4096)
            if not gradient:
                constants["d_bias"] = None
            if not components:
                constants["pi"] = None
            signature = {name: "i32" for name in names} | {name: f"*{kind}" for name, kind in pointers.items()}
            signature |= {"logits": f"*{dtype}"} | {name: "constexpr" for name in constants}
            aligned = [name for name in signature if signature[name][0] == "*"] + ["stride", "first"]
            aligned += [] if last else ["width"]
            aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
            values = {(names.index(name),): value for name, value in constants.items()}
            source = ASTSource(fn=kernel.visit_block, signature=signature, constexprs=values, attrs=aligned)
            compiled = triton.compile(source, GPUTarget("cuda", capability, 32), kernel.OPTIONS)
            file = folder / f"{len(found)}.cubin"
            file.write_bytes(compiled.asm["cubin"])
            tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
            usage = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
            found.append((capability, last, compiled.metadata.shared, usage))
print(json.dumps(found))
"""


@pytest.mark.slow
def test_it_compiles_for_gpus_without_one(tmp_path: Path) -> None:
    """To machine code of A100, H100 and B200: shared memory within their limits, no spilled registers but in the last block, whose
    rows of pi are not aligned.
    """
    path = Path(fused.__file__).with_name("triton_kernel.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path / "cache")
    result = subprocess.run(
        [sys.executable, "-c", COMPILE, str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    found = json.loads(result.stdout)
    assert {capability for capability, *_ in found} == set(SHARED_MEMORY)
    for capability, last, shared, usage in found:
        assert shared <= SHARED_MEMORY[capability] * 1024
        used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
        assert used["REG"] * 32 * 8 * 2 <= 65536, "fewer than two programs fit into a multiprocessor"
        assert last or used["STACK"] == used["LOCAL"] == 0, "registers are spilled"


@pytest.mark.parametrize(
    ("dtype", "capability", "switch", "runs", "chosen"),
    [
        (torch.bfloat16, (9, 0), True, True, True),
        (torch.float32, (8, 0), True, True, True),
        (torch.float64, (9, 0), True, True, False),
        (torch.bfloat16, (7, 5), True, True, False),
        (torch.bfloat16, (9, 0), False, True, False),
        (torch.bfloat16, (9, 0), True, False, False),
    ],
    ids=["bf16", "fp32", "fp64", "an old GPU", "SEDD_TRITON=0", "no C compiler"],
)
def test_when_the_kernel_is_chosen(
    dtype: torch.dtype,
    capability: tuple[int, int],
    switch: bool,
    runs: bool,
    chosen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = importlib.import_module(BLOCKS)
    monkeypatch.setattr(fused, "TRITON", switch)
    monkeypatch.setattr(module, "runs_on", lambda device: runs)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    kind = module.TritonBlocks if chosen else LogitBlocks
    assert fused.blocks_for(torch.device("cuda", 0), dtype) is kind
    assert fused.blocks_for(torch.device("cpu"), dtype) is LogitBlocks


def test_a_kernel_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it cannot, for want of a GPU; on a GPU machine, for want of a C compiler."""
    module = importlib.import_module(BLOCKS)
    module.runs_on.cache_clear()
    with pytest.warns(UserWarning, match="The loss runs without its Triton kernel, which fails on cpu"):
        assert not module.runs_on(torch.device("cpu"))
    module.runs_on.cache_clear()
