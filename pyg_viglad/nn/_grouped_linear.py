"""A linear layer in groups."""

import math

import torch
from torch import Tensor, nn

__all__ = ["GroupedLinear", "grouped_linear"]


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply each group of channels by its own matrix.

    Args:
        x: ``[N, in_channels]``.
        weight: ``[groups, in_channels / groups, out_channels / groups]``.
        bias: ``[out_channels]``.

    Returns:
        ``[N, out_channels]``.
    """
    if weight.size(0) == 1:
        out = x @ weight[0]
    else:
        parts = x.view(-1, weight.size(0), weight.size(1)).transpose(0, 1)
        out = torch.bmm(parts, weight).transpose(0, 1).flatten(1)
    return out if bias is None else out + bias


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

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[N, in_channels]``."""
        return grouped_linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Name the sizes."""
        groups, width, out = self.weight.shape
        return f"{groups * width}, {groups * out}, groups={groups}"
