"""A linear layer on node features that uses oneDNN on CPUs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NodeLinear", "multiply"]

_FEWEST = 20480  # torch convolves by oneDNN only inputs of more values than this


class NodeLinear(nn.Linear):
    """A linear layer on the nodes of all graphs, features ``[N, C]``.

    It computes what :class:`torch.nn.Linear` computes, up to rounding. On a CPU torch multiplies matrices
    by MKL but convolves by oneDNN, which is up to 2.2 times as fast on AMD processors. So there, in
    float32, without autocast and outside of compiled code, inputs of more than 20,480 values are
    multiplied by a 1 x 1 convolution. The forward passes of :class:`~pyg_viglad.ViGAutoEncoder` and
    :class:`~pyg_viglad.models.PyramidViG` become about 1.1x faster on images of 224 x 224 pixels (AMD EPYC,
    one thread) and 2 to 8 % slower on images of 64 to 96 pixels.

    Example:
        >>> import torch
        >>> NodeLinear(4, 8)(torch.ones(3, 4)).shape
        torch.Size([3, 8])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Transforms ``[N, C]``."""
        return multiply(input, self.weight, self.bias)


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes what :func:`torch.nn.functional.linear` does, see :class:`NodeLinear`.

    Args:
        x: Features ``[N, C]``.
        weight: ``[D, C]``.
        bias: ``[D]``, or None.

    Returns:
        ``[N, D]``.

    Example:
        >>> multiply(torch.ones(3, 4), torch.ones(2, 4))[0]
        tensor([4., 4.])
    """
    if (
        torch.compiler.is_compiling()
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or x.dim() != 2
        or x.numel() <= _FEWEST
        or not torch.backends.mkldnn.is_available()
        or torch.is_autocast_enabled("cpu")
    ):
        return F.linear(x, weight, bias)
    maps = x.reshape(1, x.size(0), 1, -1).permute(0, 3, 1, 2)
    # With one thread torch takes oneDNN only for dilated kernels; dilation does not change one of 1.
    out = F.conv2d(maps, weight[:, :, None, None], bias, dilation=2)
    return out.permute(0, 2, 3, 1).reshape(x.size(0), -1)
