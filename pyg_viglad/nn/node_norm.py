"""Batch normalization of node features."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["NodeNorm", "keep_running_statistics"]

_FEWEST = 16  # nodes: the 4 x 4 of one image of 256 x 256 pixels


class NodeNorm(nn.BatchNorm1d):
    """Batch normalization over the nodes of all graphs, features ``[N, C]``.

    In training, fewer than 16 nodes in the batch are normalised with the running statistics, which
    stay as they are. Small images in small batches leave so few nodes in the narrowest layers:
    statistics of their own would all but erase them (two values always become -1 and 1). A single
    image of the paper's size has 16 nodes there.

    :meth:`torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaces this module by one that always
    uses the statistics of the (whole) batch.

    Example:
        >>> import torch
        >>> NodeNorm(4)(torch.ones(1, 4)).shape
        torch.Size([1, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalises ``[N, C]``."""
        if self.training and input.size(0) < _FEWEST:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


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
