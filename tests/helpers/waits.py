"""Finds where a step would make the host wait for a GPU, on a machine that has none.

Every tensor that stems from what lies on the device (batch, weights, buffers) counts as lying there too. What a step
draws on the host stays on the host until the two meet. Asking a tensor of the first kind for its values, or for a shape
that depends on them, is a wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_dim", "unique_consecutive",
         "repeat_interleave.Tensor", "bincount", "equal", "is_nonzero"}  # fmt: skip
READS = {"tolist", "numpy", "cpu", "item", "__bool__", "__float__", "__int__", "__index__"}  # some pass no dispatcher


class Waited(AssertionError):
    """A step read from the device."""


class _Device:
    """Storages that lie on the pretended device; they are kept, so that no address is used twice."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}

    def add(self, *values: Any) -> None:
        for tensor in _tensors(values):
            storage = tensor.untyped_storage()
            if storage.nbytes():
                self.held[storage.data_ptr()] = storage

    def has(self, *values: Any) -> bool:
        return any(
            t.untyped_storage().data_ptr() in self.held for t in _tensors(values) if t.untyped_storage().nbytes()
        )


class _Dispatched(TorchDispatchMode):
    def __init__(self, device: _Device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        there = self.device.has(args, kwargs)
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_", "index_put") and any(t.dtype == torch.bool for t in _tensors(args[1]))
        if there and (by_mask or name in WAITS or f"{name}.{func._overloadname}" in WAITS):
            raise Waited(f"{func} of a tensor on the device")
        out = func(*args, **kwargs)
        if there:
            self.device.add(out, *([args[0]] if name.endswith("_") else []))
        return out


class _Called(TorchFunctionMode):
    def __init__(self, device: _Device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READS and self.device.has(args):
            raise Waited(f"{func.__name__} of a tensor on the device")
        return func(*args, **(kwargs or {}))


def _tensors(values: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


@contextmanager
def no_waits(*there: Any) -> Any:
    """Inside, a wait for anything that stems from the tensors ``there`` raises `Waited`."""
    device = _Device()
    device.add(*there)
    with _Dispatched(device), _Called(device):
        yield device
