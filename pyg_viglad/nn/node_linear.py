"""The linear layer of nodes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NodeLinear"]

_FEWEST = 128  # nodes from which on a convolution is faster


class NodeLinear(nn.Linear):
    """A linear layer on the nodes of all graphs, features ``[N, C]``.

    It computes what :class:`torch.nn.Linear` computes. On a CPU torch multiplies matrices by MKL but
    convolves by oneDNN, which on AMD processors is twice as fast, so many nodes pass a convolution of
    one element.

    Example:
        >>> import torch
        >>> NodeLinear(4, 8)(torch.ones(3, 4)).shape
        torch.Size([3, 8])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Transforms ``[N, C]``."""
        nodes = input.size(0)
        if (
            torch.compiler.is_compiling()
            or input.device.type != "cpu"
            or input.dtype != torch.float32
            or input.dim() != 2
            or nodes < _FEWEST
            or torch.is_autocast_enabled("cpu")
        ):
            return super().forward(input)
        maps = input.reshape(1, nodes, 1, -1).permute(0, 3, 1, 2)
        # With one thread torch convolves by oneDNN only where the kernel is dilated, which one element
        # does not feel.
        out = F.conv2d(maps, self.weight[:, :, None, None], self.bias, dilation=2)
        return out.permute(0, 2, 3, 1).reshape(nodes, -1)
