"""A linear layer in groups."""

import math

import torch
from torch import Tensor, nn

__all__ = ["GroupedLinear", "grouped_linear"]


def grouped_linear(
    x: Tensor, weight: Tensor, bias: Tensor, interleaved: Tensor | None = None
) -> Tensor:
    """Multiply each group of channels by its own matrix.

    Args:
        x: ``[N, in_channels]``.
        weight: ``[groups, in_channels / groups, out_channels / groups]``.
        bias: ``[out_channels]``.
        interleaved: Stands for every second channel, the first ones being those of ``x``: both
            ``[N, in_channels / 2]``. No array of all is made: each half meets its rows of the
            matrix.

    Returns:
        ``[N, out_channels]``.

    Example:
        >>> weight, bias = torch.eye(4).view(1, 4, 4), torch.zeros(4)
        >>> grouped_linear(torch.tensor([[1.0, 2.0]]), weight, bias, torch.tensor([[3.0, 4.0]]))
        tensor([[1., 3., 2., 4.]])
    """
    groups, width, _ = weight.shape
    if interleaved is None:
        out = torch.bmm(_by_group(x, groups), weight)
    else:
        first, second = weight.view(groups, width // 2, 2, -1).unbind(2)
        out = torch.bmm(_by_group(x, groups), first)
        out = torch.baddbmm(out, _by_group(interleaved, groups), second)
    joined: Tensor = out.transpose(0, 1).flatten(1) + bias
    return joined


def _by_group(x: Tensor, groups: int) -> Tensor:
    """View ``[N, C]`` as ``[groups, N, C / groups]``."""
    return x.view(x.size(0), groups, -1).transpose(0, 1)


class GroupedLinear(nn.Module):
    r"""The multi-head linear layer :math:`[head^1 W^1, \dots, head^h W^h]` (Eq. 4).

    Args:
        in_channels: Number of input channels, divisible by ``groups``.
        out_channels: Number of output channels, divisible by ``groups``.
        groups: Number of groups (heads).

    Raises:
        ValueError: If the channels cannot be divided.

    Example:
        >>> GroupedLinear(8, 4, groups=2)(torch.zeros(3, 8)).shape
        torch.Size([3, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Expected channels divisible by the number of groups "
                f"(got {in_channels} -> {out_channels} in {groups} groups)"
            )
        self.weight = nn.Parameter(
            torch.empty(groups, in_channels // groups, out_channels // groups)
        )
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, with the bounds of ``torch.nn.Linear``."""
        bound = 1 / math.sqrt(self.weight.size(1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, interleaved: Tensor | None = None) -> Tensor:
        """Transform ``[N, in_channels]``, or two of half the width, see :func:`grouped_linear`."""
        return grouped_linear(x, self.weight, self.bias, interleaved)

    def extra_repr(self) -> str:
        """Name the sizes."""
        groups, width, out = self.weight.shape
        return f"{groups * width}, {groups * out}, groups={groups}"
