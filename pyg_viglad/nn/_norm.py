"""Batch normalization of node features."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["NodeNorm", "keep_statistics"]

_FEWEST = 16  # nodes: the 4 x 4 of one image of 256 pixels


class NodeNorm(nn.BatchNorm1d):
    """Batch normalization over the nodes of all graphs, features ``[N, C]``.

    Small images in small batches leave few nodes in the narrowest layers, where training on the
    batch's own statistics all but erases them (two values always become -1 and 1), and evaluation
    on the running ones shows later layers what they never saw. Fewer than 16 nodes, which one image
    of the paper's size has at least, are normalised with the running statistics, left as they are.

    Example:
        >>> import torch
        >>> NodeNorm(4)(torch.ones(1, 4)).shape
        torch.Size([1, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[N, C]``."""
        if self.training and input.size(0) < _FEWEST:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


@contextmanager
def keep_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of a module's batch normalizations as they are meanwhile.

    Example:
        >>> import torch
        >>> norm = NodeNorm(4)
        >>> with keep_statistics(norm):
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
