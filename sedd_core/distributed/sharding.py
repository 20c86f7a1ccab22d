"""Parameters divided over the processes of a run (FSDP2): dividing them, and the whole tensors of divided ones.

torch's modules for it are imported where they are used: they take seconds, which other runs do not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn

from ..errors import UserError
from .world import World


def whole(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The whole of a tensor; of a divided one, all processes call it."""
    return tensor.full_tensor() if is_divided(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def is_divided(tensor: Tensor) -> bool:
    """Whether this process has a part of the tensor only."""
    return hasattr(tensor, "full_tensor")


def divided_like(tensor: Shaped[Tensor, "*shape"], like: Tensor) -> Shaped[Tensor, "*shape"]:
    """A whole tensor that every process has, divided as `like` is, if it is.

    Args:
        tensor: Whole tensor.
        like: Tensor that may be divided.
    """
    if not is_divided(like) or is_divided(tensor):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a network: what its module lists contain. Each is gathered for its own passes only."""
    for child in network.children():
        yield from child if isinstance(child, nn.ModuleList) else blocks(child)


def shard(root: nn.Module, network: nn.Module, values: Mapping[str, Tensor], world: World, *, bf16: bool) -> None:
    """Divide the parameters of a network over the processes, and give them their values.

    Args:
        root: Module whose forward pass contains all uses of the network; its other parameters stay whole.
        network: Network inside of `root`, on the meta device; each of its blocks, and what is outside of them, is
            gathered by itself.
        values: Parameters and buffers of the network by name, whole; only the main process needs them.
        world: Processes of the run, more than one.
        bf16: Whether parameters are gathered in bfloat16; they are kept, and gradients are summed, in float32.

    Raises:
        UserError: The network has parameters that cannot be divided.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor

    check_divisible(network)
    own = set(network.parameters())
    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    others = {parameter for parameter in root.parameters() if parameter not in own}
    for part in [*blocks(network), root]:
        fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=others)
    root._apply(lambda t: torch.empty_like(t, device=world.device) if t.is_meta else t)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            assert isinstance(parameter, DTensor)
            size, dtype, device = parameter.shape, parameter.dtype, world.device
            value = values[name].to(device) if world.main else torch.empty(size, dtype=dtype, device=device)
            parts = distribute_tensor(value, mesh, parameter.placements, src_data_rank=0)
            parameter.to_local().copy_(parts.to_local())
        for name, buffer in network.named_buffers():
            if world.main:
                buffer.copy_(values[name])
            dist.broadcast(buffer, 0)


def check_divisible(network: nn.Module) -> None:
    """Check that FSDP2 can divide the parameters of a network.

    Args:
        network: Network to divide.

    Raises:
        UserError: A parameter is a scalar, or has two names, which would be divided apart from each other.
    """
    named = dict(network.named_parameters(remove_duplicate=False))
    shared = len(named) - len(set(named.values()))
    scalars = [name for name, parameter in named.items() if not parameter.ndim]
    if shared or scalars:
        what = f"are scalars ({', '.join(scalars)})" if scalars else "are used under several names"
        raise UserError(
            f"training.parallel=fsdp cannot divide this network: some of its parameters {what}. Set "
            "training.parallel=ddp, or use another network."
        )


@contextmanager
def filled(
    network: nn.Module, divided: nn.Module, values: Mapping[Tensor, Tensor], device: torch.device
) -> Iterator[None]:
    """Within: a network on the meta device has the whole tensors of a divided one. All processes enter it.

    Args:
        network: Network on the meta device.
        divided: The same network, divided.
        values: Tensors to take in place of parameters of `divided`, divided as these are.
        device: Device of the whole parameters; on the meta device they take no memory.
    """
    names = dict(divided.named_parameters())
    for name, buffer in divided.named_buffers():
        _assign(network, name, buffer)
    for name, parameter in names.items():
        tensor = whole(values.get(parameter, parameter).detach()).to(device)
        _assign(network, name, nn.Parameter(tensor, requires_grad=parameter.requires_grad))
    try:
        yield
    finally:
        for name, parameter in names.items():
            tensor = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
            _assign(network, name, nn.Parameter(tensor, requires_grad=parameter.requires_grad))


def copy_whole(network: nn.Module, parameters: Iterable[Tensor]) -> None:
    """Copy divided parameters into those of a whole network. All processes call it.

    Args:
        network: Network with whole parameters, or on the meta device.
        parameters: Parameters of the same network, divided.
    """
    with torch.no_grad():
        for target, source in zip(network.parameters(), parameters, strict=True):
            target.copy_(whole(source.detach()))


def _assign(network: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace a parameter or buffer by its dotted name."""
    path, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(path), leaf, tensor)
