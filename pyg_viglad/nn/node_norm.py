"""Batch normalization of node features."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["NodeNorm", "keep_running_statistics", "synchronize_batch_norms"]

_FEWEST = 16  # nodes: the 4 x 4 of one image of 256 x 256 pixels


class NodeNorm(nn.BatchNorm1d):
    """Batch normalization over the nodes of all graphs, features ``[N, C]``.

    In training, a batch of fewer than 16 nodes is normalised with the running statistics, which are
    not updated. Small images in small batches leave so few nodes in the narrowest layers, and batch
    statistics of so few would remove nearly all information (two values always become -1 and 1). A
    single image of the paper's size has 16 nodes there.

    :meth:`torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaces this module by one that always
    uses the statistics of the (whole) batch; :func:`synchronize_batch_norms` keeps the rule.

    Example:
        >>> import torch
        >>> NodeNorm(4)(torch.ones(1, 4)).shape
        torch.Size([1, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalises ``[N, C]``."""
        if self.training and input.size(0) < _FEWEST:
            return self.normalize(input)
        return super().forward(input)

    def normalize(self, input: Tensor) -> Tensor:
        """Normalises ``[N, C]`` with the running statistics."""
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


@contextmanager
def keep_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keeps the running statistics of a module's batch normalizations unchanged in this context.

    Args:
        module: A module that contains batch normalizations.

    Example:
        >>> import torch
        >>> norm = NodeNorm(4)
        >>> with keep_running_statistics(norm):
        ...     _ = norm(torch.rand(8, 4))
        >>> norm.running_mean
        tensor([0., 0., 0., 0.])
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def synchronize_batch_norms(module: nn.Module, processes: int) -> Iterator[None]:
    """Synchronises the batch statistics of a module's batch normalizations across processes.

    Unlike :class:`torch.nn.SyncBatchNorm` it works on a CPU too, and :class:`NodeNorm` counts the nodes
    of all processes. All processes must run the same layers in the same order.

    Args:
        module: A module that contains batch normalizations.
        processes: Number of processes in the default group of :mod:`torch.distributed`; with 1 no
            group is needed, and nothing changes.

    Example:
        >>> norm, x = NodeNorm(4), torch.rand(20, 4)
        >>> with synchronize_batch_norms(norm, processes=1):
        ...     y = norm(x)
        >>> torch.equal(y, NodeNorm(4)(x))
        True
    """
    norms = [m for m in module.modules() if processes > 1 and isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.forward = partial(_synchronized, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Sum(torch.autograd.Function):
    """Sums a tensor, and its gradient, over all processes: each one's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def _synchronized(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Normalises ``[N, C, ...]``, in training by mean and variance over all processes."""
    if not norm.training:
        evaluated: Tensor = type(norm).forward(norm, x)
        return evaluated
    dims = [0, *range(2, x.dim())]
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = (part.double() for part in torch.var_mean(values, dims, correction=0))
    moments = torch.stack([torch.ones_like(mean), mean, mean.square() + variance])
    total, mean, second = _Sum.apply(moments * (x.numel() // x.size(1)))
    mean, second = mean / total, second / total
    variance = second - mean.square()
    number = int(total[0])
    if isinstance(norm, NodeNorm) and number < _FEWEST:
        return norm.normalize(x)
    batches = norm.num_batches_tracked
    if norm.track_running_stats and batches is not None:
        with torch.no_grad():
            batches += 1
            share = 1 / float(batches) if norm.momentum is None else norm.momentum
            unbiased = variance * number / max(1, number - 1)
            for name, value in (("running_mean", mean), ("running_var", unbiased)):
                running = norm.get_buffer(name)
                running.lerp_(value.to(running), share)
    shape = [-1, *[1] * (x.dim() - 2)]
    gain = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight
    y: Tensor = (values - mean.to(values).view(shape)) * gain.to(values).view(shape)
    if norm.bias is not None:
        y = y + norm.bias.to(values).view(shape)
    return y.to(x.dtype)
