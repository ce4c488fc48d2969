"""Modules whose buffers keep their types when a network is converted to half precision."""

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["KeepTypes"]


class KeepTypes(nn.Module):
    """Base class of modules whose own buffers keep their types in conversions such as ``half()``.

    Meant for statistics: entries of a precision matrix can exceed the range of float16, and bfloat16 keeps
    about three digits. Parameters and submodules are converted as usual.

    Example:
        >>> import torch
        >>> module = KeepTypes()
        >>> module.register_buffer("mean", torch.zeros(2))
        >>> module.half().mean.dtype
        torch.float32
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "KeepTypes":
        kept = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in kept.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None and moved.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(moved.device)
        return self
