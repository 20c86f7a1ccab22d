"""Conformance check for model plugins."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import UserError
from ..stages import Backbone, BlockBackbone, DocumentBackbone, NoiseLevel
from .block_checks import check_blocks

LENGTH = 6
NEAR = 1e-4
"""Largest difference between results of the same formula in float32, computed in batches of other shapes."""
Inputs = tuple[Tensor, NoiseLevel, Tensor | None]


@torch.random.fork_rng(devices=[])
def check_model(build: Callable[..., Backbone], *, num_states: int = 7, cond: Tensor | None = None) -> None:
    """Check that a backbone keeps the contract that training, the bound and sampling rely on.

    The backbone is built several times, on the meta device first, as a run does. Its parameters are perturbed at
    random, so that layers that start at zero take part.

    Args:
        build: Makes a small backbone of the number of states it is given: `functools.partial(MyModel, width=32)`.
        num_states: Number S of states.
        cond: Conditions [B, ...] of a backbone that takes them, at least two, the first two different; None: the
            backbone must refuse conditions.

    Raises:
        AssertionError: A property does not hold.
    """
    torch.manual_seed(0)
    backbone, inputs = _built(build, num_states), _inputs(num_states, cond)
    _check_shapes(backbone, inputs, num_states)
    _check_levels(backbone, inputs)
    _check_conditions(backbone, inputs)
    for training in (False, True):
        _check_independence(backbone.train(training), inputs, num_states)
    if isinstance(backbone, BlockBackbone) and 0 < backbone.block_size < LENGTH:
        check_blocks(backbone.eval(), *inputs)
    elif isinstance(backbone, DocumentBackbone):
        _check_documents(backbone.eval(), inputs)
    _check_logits(backbone.eval(), inputs, num_states)
    _check_gradients(backbone, inputs)
    _check_state(build, backbone, inputs, num_states)


def _built(build: Callable[..., Backbone], num_states: int) -> Backbone:
    """The perturbed backbone in eval mode, built on the meta device too."""
    with torch.device("meta"):
        try:
            empty = build(num_states=num_states)
        except (NotImplementedError, RuntimeError) as error:
            raise AssertionError(
                f"the backbone must be constructed on the meta device, as --dry_run does, but raises {error!r}; look "
                "for values of tensors that __init__ reads"
            ) from error
    backbone = build(num_states=num_states).eval()
    shapes, expected = ({name: value.shape for name, value in b.state_dict().items()} for b in (empty, backbone))
    assert shapes == expected, (
        f"the state_dict must be the same on the meta device; different: {sorted(shapes.items() ^ expected.items())}"
    )
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return backbone


def _inputs(num_states: int, cond: Tensor | None) -> Inputs:
    """States [B, L], noise levels [B] in float32 that differ by sequence, and the conditions."""
    count = 3 if cond is None else len(cond)
    assert count >= 2, f"cond needs conditions of at least two sequences, not {count}"
    x = torch.randint(num_states, (count, LENGTH))
    t = torch.linspace(0.2, 0.9, count)
    return x, NoiseLevel(t, 2 * t, torch.full_like(t, 2.0)), cond


def _features(backbone: Backbone, inputs: Inputs) -> Tensor:
    """Whatever forward returns for the inputs, of which shape and type have yet to be checked."""
    with torch.no_grad():
        return backbone(*inputs)


def _check_shapes(backbone: Backbone, inputs: Inputs, num_states: int) -> None:
    """Check shapes of features and head, inputs that stay as they were, and features that repeat in eval mode."""
    x, level, cond = inputs
    states, width = backbone.head.out_features, backbone.head.in_features
    assert states == num_states, f"the head must have num_states={num_states} outputs, not {states}"
    own = {id(parameter) for parameter in backbone.parameters()}
    assert id(backbone.head.weight) in own, "the head must be a module of the backbone, so that it is trained and saved"
    before = [None if part is None else part.clone() for part in (x, *level, cond)]
    features = _features(backbone, inputs)
    for name, part, copy in zip(("x", "t", "sigma", "rate", "cond"), (x, *level, cond), before, strict=True):
        assert part is None or copy is None or torch.equal(part, copy), f"forward must not change its input {name}"
    expected = (*x.shape, width)
    assert features.shape == expected, (
        f"features must have shape [B, L, D] = {list(expected)}, D being head.in_features, not {list(features.shape)}"
    )
    assert features.is_floating_point(), f"features must be floating-point numbers, not {features.dtype}"
    assert features.isfinite().all(), f"{int((~features.isfinite()).sum())} features are not finite"
    again = _features(backbone, inputs)
    assert torch.equal(features, again), (
        f"eval mode must be deterministic, but two calls differ by {_error(again, features):.3g}; look for dropout "
        "that ignores self.training, random numbers, or buffers that forward changes"
    )


def _check_levels(backbone: Backbone, inputs: Inputs) -> None:
    """Check that levels may be given per position, and that features are finite at any level, in bf16 as well."""
    x, level, cond = inputs
    features = _features(backbone, inputs)
    each = _features(backbone, (x, level.at(x), cond))
    assert each.shape == features.shape, (
        f"levels [B, L] must give features of the shape of levels [B], {list(features.shape)}, not {list(each.shape)}"
    )
    error = _error(each, features)
    assert error <= NEAR, f"levels [B, L] that repeat those [B] must give the same features; they differ by {error:.3g}"
    if not backbone.reads_noise:
        error = _error(_features(backbone, (x, level.pick([1, 0, *range(2, len(x))]), cond)), features)
        assert error == 0, f"reads_noise=False says that levels do not matter, but features differ by {error:.3g}"
    for sigma in (0.0, 1e-4, 20.0, 100.0):
        t = torch.full((len(x),), sigma / 100)
        extreme = _features(backbone, (x, NoiseLevel(t, 100 * t, torch.ones_like(t)), cond))
        assert extreme.isfinite().all(), f"features must be finite at any level, but are not at sigma = {sigma:g}"
    with torch.autocast("cpu", torch.bfloat16):
        half = backbone.logits(_features(backbone, inputs))
    assert half.isfinite().all(), "logits under autocast to bfloat16 must be finite (training.precision=bf16)"


def _check_conditions(backbone: Backbone, inputs: Inputs) -> None:
    """Check that conditions matter or are refused, and that missing ones are used or refused, by a UserError."""
    x, level, cond = inputs
    if cond is None:
        try:
            _features(backbone, (x, level, torch.zeros(len(x), dtype=torch.int64)))
        except UserError:
            return
        raise AssertionError(
            "a backbone without conditions must raise UserError for cond; if it takes them, give check_model some"
        )
    swapped = torch.cat([cond[[1, 0]], cond[2:]])
    error = _error(_features(backbone, (x, level, swapped)), _features(backbone, inputs))
    assert error > 0, "features must depend on cond, but stay the same when the first two conditions change places"
    try:
        _features(backbone, (x, level, None))
    except UserError:
        pass
    except Exception as error:
        raise AssertionError(f"without cond a backbone must work or raise UserError, not {error!r}") from error


def _check_independence(backbone: Backbone, inputs: Inputs, num_states: int) -> None:
    """Check that the features of a sequence are those that it has alone, and in a batch of other sequences."""
    mode = "train" if backbone.training else "eval"

    def seeded(x: Tensor, level: NoiseLevel, cond: Tensor | None) -> Tensor:
        torch.manual_seed(1)  # the same dropout in both calls
        return _features(backbone, (x, level, cond))

    x, level, cond = inputs
    first = torch.arange(len(x)) == 0
    others = (
        torch.where(first[:, None], (x + 1) % num_states, x),
        NoiseLevel(*(torch.where(first, part / 2, part) for part in level)),
        None if cond is None else torch.cat([cond[[1]], cond[1:]]),
    )
    error = _error(seeded(*others)[1:], seeded(*inputs)[1:])
    advice = "look for operations along the batch axis, such as batch norm"
    assert error <= NEAR, (
        f"sequences of a batch must be independent, but changing the first changes others by {error:.3g} ({mode} "
        f"mode); {advice}"
    )
    if not backbone.training:
        alone = _features(backbone, (x[:1], level.pick(slice(1)), None if cond is None else cond[:1]))
        error = _error(alone, seeded(*inputs)[:1])
        assert error <= NEAR, (
            f"a sequence alone must have its features in a batch, but they differ by {error:.3g}; {advice}"
        )


def _check_documents(backbone: DocumentBackbone, inputs: Inputs) -> None:
    """Check that the features of a document are those that it has in a row of its own, and that one document is all."""
    x, level, cond = inputs
    ends = (1, LENGTH // 2, LENGTH)
    documents = torch.bucketize(torch.arange(LENGTH), torch.tensor(ends), right=True).expand_as(x).contiguous()
    with torch.no_grad():
        together = backbone(x, level, cond, documents)
        whole = backbone(x, level, cond, torch.zeros_like(x))
    apart = [_features(backbone, (x[:, a:b], level, cond)) for a, b in zip((0, *ends), ends, strict=False)]
    error = _error(together, torch.cat(apart, 1))
    assert error <= NEAR, (
        f"a document must have the features that it has in a row of its own, but they differ by {error:.3g}; look for "
        "attention across documents, or positions that are not relative"
    )
    error = _error(whole, _features(backbone, inputs))
    assert error <= NEAR, f"a row of one document must have the features of the row, but they differ by {error:.3g}"


def _check_logits(backbone: Backbone, inputs: Inputs, num_states: int) -> None:
    """Check that logits are one per state, and those of selected positions the same as if all were computed."""
    features = _features(backbone, inputs)
    with torch.no_grad():
        logits = backbone.logits(features)
        expected = (*features.shape[:2], num_states)
        assert logits.shape == expected, f"logits must have shape {list(expected)}, not {list(logits.shape)}"
        for count in (3, 0):
            positions = torch.randperm(features.shape[0] * LENGTH).view(features.shape[:2]) < count
            chosen = backbone.logits(features[positions])
            assert chosen.shape == (count, num_states), (
                f"logits of {count} positions must have shape {[count, num_states]}, not {list(chosen.shape)}"
            )
            error = _error(chosen, logits[positions])
            assert error <= NEAR, (
                f"logits must act on each position alone: selecting positions before or after differs by {error:.3g}"
            )


def _check_gradients(backbone: Backbone, inputs: Inputs) -> None:
    """Check that the gradient of a sum of logits reaches every parameter, as DDP demands."""
    backbone.zero_grad()
    logits = backbone.logits(backbone(*inputs))
    (logits * torch.randn_like(logits)).sum().backward()
    named = {name: p.grad for name, p in backbone.named_parameters() if p.requires_grad}
    without = [name for name, gradient in named.items() if gradient is None or not gradient.any()]
    assert not without, f"the gradient must reach every parameter, but not {', '.join(without)}: use or remove them"
    infinite = [name for name, gradient in named.items() if gradient is not None and not gradient.isfinite().all()]
    assert not infinite, f"gradients must be finite, but are not at {', '.join(infinite)}"


def _check_state(build: Callable[..., Backbone], backbone: Backbone, inputs: Inputs, num_states: int) -> None:
    """Check that the weights of a checkpoint are all that another process needs."""
    torch.manual_seed(2)
    other = build(num_states=num_states).eval()
    other.load_state_dict(backbone.state_dict())
    error = _error(_features(other, inputs), _features(backbone, inputs))
    assert error == 0, (
        f"a backbone with the state_dict of another must be equal to it, but features differ by {error:.3g}; look "
        "for random numbers in __init__ that are neither parameters nor buffers"
    )


def _error(value: Tensor, expected: Tensor) -> float:
    """Largest difference: absolute up to |expected| = 1, relative above."""
    if not value.numel():
        return 0.0
    return ((value - expected).abs() / expected.abs().clamp(min=1)).max().item()
