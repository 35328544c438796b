"""A second device that needs no hardware: its tensors compute on the CPU and refuse to meet tensors that live there.

    with OtherDevice() as mode:
        x = torch.rand(2, 3, device=OTHER)
        x + torch.rand(2, 3)  # RuntimeError, as on a GPU
        x.cpu()

What would fail on a GPU because a tensor was left behind fails here. Numbers, memory and streams are the CPU's. The
device goes by the name "meta", because torch lets a tensor claim no other that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

OTHER = torch.device("meta")
aten = torch.ops.aten
# Copies are what the devices are crossed by; a tensor may be indexed from the CPU, but not the other way round.
CROSSING = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}


class OtherTensor(Tensor):
    """A tensor on the other device; ``near`` holds its numbers."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> OtherTensor:
        kept = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        other = Tensor._make_wrapper_subclass(cls, near.size(), device=OTHER, layout=near.layout, **kept)
        other.near = near
        return other

    def __repr__(self) -> str:
        return f"OtherTensor({self.near})"

    def tolist(self) -> Any:
        return self.near.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return OtherTensor(self.near.new_tensor(data, **options))

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_with_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_with_tensors(index), value)

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor of the other device to numpy. Use Tensor.cpu() first.")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """While it is entered the other device can be named where tensors are made."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if _is_composite(func):
            with self:  # inference mode does not take these apart by itself
                return func.decompose(*args, **(kwargs or {}))
        return _run(func, args, kwargs or {})


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def moved(module: nn.Module) -> nn.Module:
    """``module`` with its tensors on the other device; what ``module.to("cuda")`` does."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(OtherTensor(value.detach()), value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = OtherTensor(value)
    return module


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = list(_tensors((args, kwargs)))
    others = [tensor for tensor in tensors if isinstance(tensor, OtherTensor)]
    if any(tensor.device == OTHER for tensor in tensors if not isinstance(tensor, OtherTensor)):
        raise NotImplementedError(f"{func}: torch made a tensor without asking the device; teach OtherTensor how.")
    if others and func not in CROSSING:
        _check_together(func, args, tensors)
    if func is aten._fused_sdp_choice.default:
        return 0  # attention by plain matrix products
    device = kwargs.pop("device", None)
    if device is not None and torch.device(device).type == "cpu":
        kwargs["device"] = device
    with _disable_current_modes():
        out = func(*_near(args), **_near(kwargs))
    if func._schema.is_mutable:  # the caller's tensor has changed in place
        return kwargs.get("out", args[0]) if isinstance(out, Tensor) else out
    there = bool(others) if device is None else torch.device(device).type == OTHER.type
    return _map(out, Tensor, OtherTensor) if there else out


def _check_together(func: Callable, args: tuple, tensors: list[Tensor]) -> None:
    """``RuntimeError`` if tensors of both devices meet; a number in a tensor may come from anywhere."""
    here = [tensor for tensor in tensors if not isinstance(tensor, OtherTensor) and tensor.ndim]
    if here and not (func in INDEXING and isinstance(args[0], OtherTensor)):
        there = [tuple(tensor.shape) for tensor in tensors if isinstance(tensor, OtherTensor)]
        raise RuntimeError(f"{func}: {there} are on the other device, {[tuple(x.shape) for x in here]} are not.")


def _with_tensors(index: Any) -> Any:
    """An index whose lists are tensors on the CPU: torch would put them on the device by itself, past this one."""
    if isinstance(index, tuple):
        return tuple(_with_tensors(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _near(arguments: Any) -> Any:
    return _map(arguments, OtherTensor, lambda tensor: tensor.near)


# What torch calls a tree, ten times as fast for the few kinds that operations are given.


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for branch in tree:
            yield from _tensors(branch)
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))


def _map(tree: Any, kind: type, change: Callable) -> Any:
    if isinstance(tree, kind):
        return change(tree)
    if isinstance(tree, tuple | list):
        return type(tree)([_map(branch, kind, change) for branch in tree])
    if isinstance(tree, dict):
        return {name: _map(branch, kind, change) for name, branch in tree.items()}
    return tree
