"""Triton kernel of `TritonBlocks`: what follows from the logits of a block of states, in one visit to each.

It needs Triton alone, so that it can be compiled for any GPU without one. Arguments in capitals are compiled in.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

OPTIONS = {"num_warps": 8, "maxnreg": 128}
"""16 states of a block of 4096 per thread; two programs per multiprocessor, whose registers number 65536."""


@triton.jit
@no_type_check
def larger(one, other):
    """The larger of two; `tl.max` is of no use to an interpreter that is chosen after Triton has been imported."""
    return tl.maximum(one, other)


@triton.jit
@no_type_check
def added(one, other):
    """The sum of two; see `larger`."""
    return one + other


@triton.jit
@no_type_check
def pulled(pull, pi, state, width, COMPONENTS: tl.constexpr):
    """The sum over components of pull_k pi_k."""
    total = 0.0
    for k in tl.static_range(COMPONENTS):
        total += tl.load(pull + k) * tl.load(pi + k * width + state, mask=state < width, other=0.0)
    return total


@triton.jit(do_not_specialize=["rows"])  # another number in each step
@no_type_check
def visit_block(
    logits,
    bias,
    pi,
    x,
    grow,
    log_grow,
    pull,
    shift,
    sums,
    d_bias,
    rows,
    stride,
    width,
    first,
    LARGEST: tl.constexpr,
    COMPONENTS: tl.constexpr,
    STATES: tl.constexpr,
):
    """Update shift and sums [rows]; replace logits [rows, width] by their gradient, summed into d_bias (None: neither).

    Program i of n visits rows i, i + n, ... and sums into its own row of d_bias [n, width]: their order has no effect.
    The states are first, first + 1, ...; pi is [COMPONENTS, width], pull [rows, COMPONENTS], STATES a power of two.
    The factor grow e^shift is sign(grow) e^(shift + log|grow|), which is finite wherever the gradient is.
    """
    state = tl.arange(0, STATES)
    inside = state < width
    total, offset = tl.full([STATES], 0.0, tl.float32), 0.0
    if bias is not None:
        offset = tl.load(bias + state, mask=inside, other=0.0).to(tl.float32)
    own = logits + tl.program_id(0).to(tl.int64) * stride
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        kept = inside & (state + first != tl.load(x + row))
        value = tl.where(kept, tl.load(own + state, mask=inside, other=0.0).to(tl.float32) + offset, float("-inf"))
        before = tl.load(shift + row)
        after = tl.maximum(before, tl.reduce(value, 0, larger) - LARGEST)
        exponential = tl.exp(value - after)
        summed = tl.load(sums + row) * tl.exp(before - after).to(tl.float64)
        tl.store(sums + row, summed + tl.reduce(exponential, 0, added).to(tl.float64))
        tl.store(shift + row, after)
        if d_bias is not None:
            factor = tl.exp(after + tl.load(log_grow + row))
            factor = tl.where(tl.load(grow + row) < 0, -factor, factor)
            slope = exponential * factor - pulled(pull + row * COMPONENTS, pi, state, width, COMPONENTS)
            slope = tl.where(kept, slope, 0.0)
            tl.store(own + state, slope.to(logits.dtype.element_ty), mask=inside)
            total += slope
        own += tl.num_programs(0).to(tl.int64) * stride
    if d_bias is not None:
        tl.store(d_bias + tl.program_id(0) * width + state, total, mask=inside)
