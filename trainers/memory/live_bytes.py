"""Bytes of tensors that are alive, counted as they are made and freed: exact, on any device, also for fake tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """Counts the storages of tensors that operations make inside the ``with`` block, each once, until it is freed.

    Memory that a kernel uses inside itself or that an allocator rounds up is not counted.

    Args:
        existing: tensors that exist already and are not counted, such as a model's weights.

    Attributes:
        live: bytes alive now.
        peak: largest number of bytes alive at once.
        gradients: bytes of the parameters' gradients made so far, reported by the hook `gradient`.
        gradients_at_peak: the same at the moment of the peak.
    """

    def __init__(self, existing: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = self.gradients = self.gradients_at_peak = 0
        self.storages: dict[int, weakref.ref[Any] | None] = {tensor.untyped_storage()._cdata: None for tensor in existing}
        self.with_gradient: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation and count its result."""
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            # A fake tensor has no value. The answer to "are all tokens real?" is no: batches are padded.
            return False if args[0].dtype == torch.bool else 1
        if func is torch.ops.aten.nonzero.default and isinstance(args[0], FakeTensor):
            # Nor has it a number of places that are not zero: as many as there can be, for a pooling that reads all tokens.
            result = args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.int64)
        else:
            result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's storage, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.storages:
            return

        def freed(_: Any) -> None:
            self.live -= size
            del self.storages[key]

        self.storages[key] = weakref.ref(storage, freed)
        self.live += size
        if self.live > self.peak:
            self.peak, self.gradients_at_peak = self.live, self.gradients

    def gradient(self, parameter: Tensor) -> None:
        """Take note that a parameter got its gradient; a hook for ``register_post_accumulate_grad_hook``."""
        if id(parameter) not in self.with_gradient:
            self.with_gradient.add(id(parameter))
            self.gradients += parameter.numel() * parameter.element_size()
