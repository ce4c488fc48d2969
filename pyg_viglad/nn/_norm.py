"""Batch normalization of node features."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NodeNorm"]


class NodeNorm(nn.BatchNorm1d):
    """Batch normalization over the nodes of all graphs, features ``[N, C]``.

    A single node has no variance, and ``BatchNorm1d`` refuses it in training. The smallest images
    end in one node, so a single node is normalised with the running statistics, left as they are.

    Example:
        >>> import torch
        >>> NodeNorm(4)(torch.ones(1, 4)).shape
        torch.Size([1, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[N, C]``."""
        if self.training and input.size(0) == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)
