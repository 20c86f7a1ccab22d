"""Problems for the score entropy of a linear head."""

from __future__ import annotations

import torch
from torch import Tensor

from sedd_core.maths.linear_entropy import LinearForm


def problem(seed: int = 0) -> tuple[list[Tensor], Tensor, Tensor, LinearForm, Tensor, list[int]]:
    """Features, weight and bias with gradients; states, coefficients, and two components."""
    torch.manual_seed(seed)
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((6, 4), (11, 4), (11,))]
    x, x0 = torch.tensor([10, 10, 0, 3, 7, 2]), torch.tensor([1, 9, 5, 3, 0, 10])
    form = LinearForm(*(torch.rand(*shape).double() for shape in ((6,), (6, 2), (6,), (6,))))
    components = torch.zeros(2, 11, dtype=torch.float64)
    components[0, 10], components[1, :10] = 1.0, 0.1
    form.pull[:2, 0] = 0.0  # a component that is nowhere but at x
    return inputs, x, x0, form, components, [10, 11, 0, 10]
