"""Weights, gradients and optimizer state divided among workers: PyTorch's fully sharded data parallelism (FSDP2).

What is saved is whole: a checkpoint does not know how many workers wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from launchyard.training.context import TrainContext


def shard_model(context: TrainContext, model: nn.Module) -> None:
    """Divide the model's parameters among all workers, in place; their parts end up on the worker's device.

    All start from the weights of rank 0. The blocks of a model, which are the items of its ``ModuleList``, are gathered
    one at a time when they are computed, everything else together.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        _take_from_first(tensor, context.device)
    mesh = init_device_mesh(torch.device(context.device).type, (context.world_size,))
    for block in list(_iter_blocks(model)):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(context.device)


def _iter_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the items of each ``ModuleList`` that is in no other one."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _iter_blocks(child)


@torch.no_grad()
def _take_from_first(tensor: torch.Tensor, device: str) -> None:
    moved = tensor.detach().to(device)
    dist.broadcast(moved, src=0)
    tensor.copy_(moved)


def make_whole(value: Any, *, keep: bool) -> Any:
    """Return state with each divided tensor whole, on the CPU; all workers call it alike, one tensor at a time.

    Args:
        value: A tensor, a mapping or list of them, or anything else, which stays as it is.
        keep: Whether this worker keeps the whole tensors; the others get empty ones, to save memory.
    """
    if isinstance(value, DTensor):
        whole = value.detach().full_tensor()
        return whole.cpu() if keep else torch.empty(0)
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: make_whole(part, keep=keep) for key, part in value.items()}
    if isinstance(value, list):
        return [make_whole(part, keep=keep) for part in value]
    return value


def divide_like(whole: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """Return this worker's part of a whole tensor, divided as ``example`` is; the tensor itself if that is whole."""
    if not isinstance(example, DTensor):
        return whole
    mesh = example.device_mesh
    # Every worker has the whole tensor, so nothing is sent.
    return distribute_tensor(whole.to(mesh.device_type), mesh, example.placements, src_data_rank=None)


def divide_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the whole state of an optimizer, divided as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    divided = {}
    for number, parameter in zip(numbers, parameters, strict=True):
        divided[number] = {
            name: divide_like(value, parameter) if value.shape == parameter.shape else value
            for name, value in state["state"].get(number, {}).items()
        }
    return {**state, "state": divided}


def clip_gradients(model: nn.Module, max_norm: float) -> None:
    """Clip the gradients of divided parameters to a norm over all workers."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm.full_tensor() if isinstance(norm, DTensor) else norm)
