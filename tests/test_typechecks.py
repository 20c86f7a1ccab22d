"""The checks of types and shapes in all tests: what is wrong is found, also after the same function was right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jaxtyping
import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float64, Int64
from torch import Tensor

from sedd_core.maths.categorical import categorical
from tests.support.typechecks import jaxtyped_once_per_kind

WRONG = (jaxtyping.TypeCheckError, BeartypeCallHintViolation)


def selected(x: Int64[Tensor, " N"], keep: Any = True, *, kind: Literal["all", "few"] = "all") -> Float64[Tensor, " N"]:
    """Right for `keep` True and false otherwise: the kinds of the arguments do not show which."""
    return x.double() if keep else x.double()[1:]


def both(x: tuple[Int64[Tensor, " N"], Float64[Tensor, " N"]], names: list[str]) -> None:
    pass


@pytest.fixture
def checked() -> Callable[[Any], Any]:
    return jaxtyped_once_per_kind(typechecker=beartype)


def test_wrong_arguments_are_found_after_right_ones(checked: Callable[[Any], Any]) -> None:
    function, x = checked(selected), torch.arange(3)
    for _ in range(3):
        assert function(x, kind="few").tolist() == [0, 1, 2]
    for wrong in (x.double(), x[None], x.numpy(), None):
        with pytest.raises(WRONG):
            function(wrong, kind="few")
    with pytest.raises(WRONG):
        function(x, kind="none")


def test_wrong_results_are_found_after_right_ones(checked: Callable[[Any], Any]) -> None:
    function, x = checked(selected), torch.arange(3)
    for _ in range(3):
        function(x, True)
    for _ in range(2):
        with pytest.raises(WRONG, match=r"return value of tests.*selected"):
            function(x, False)
    function(x, True)


def test_items_are_checked_each_time(checked: Callable[[Any], Any]) -> None:
    function, x = checked(both), torch.arange(3)
    function((x, x.double()), ["a"])
    for pair, names in (((x, x), ["a"]), ((x, x[1:].double()), ["a"]), ((x, x.double()), [1])):
        with pytest.raises(WRONG):
            function(pair, names)


def test_the_core_is_checked() -> None:
    weights, uniform = torch.ones(2, 3).double(), torch.full((2,), 0.5).double()
    assert categorical(weights, uniform).tolist() == [1, 1]
    with pytest.raises(WRONG):
        categorical(weights, uniform[:1])
