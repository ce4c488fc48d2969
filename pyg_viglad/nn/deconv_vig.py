"""The block of the decoder."""

from torch import nn

from pyg_viglad.nn._vig_block import ViGBlock
from pyg_viglad.nn.conv.max_relative_deconv import MaxRelativeDeconv
from pyg_viglad.nn.conv.operator import Operator, make_operator

__all__ = ["DeconvViG"]


class DeconvViG(ViGBlock):
    r"""The Deconvolution Vision Graph block: :class:`ConvViG` around Eq. 8-9.

    .. math::
        Y &= FC_{gOut} \left[ \sigma_{deconv} \left[ norm \left[ TrConv2D \left( concat \left[
        p_i, \max_j (q_j - p_i) \right] \right) \right] \right] \right] + P \\
        Z &= FC_{FFN2} \left[ \sigma_{FFN} \left[ FC_{FFN1}(Y) \right] \right] + Y

    with :math:`p_i` the rows of :math:`FC_{gIn}(P)` and :math:`q_j` their neighbours.

    Args:
        channels: Width of the nodes' features.
        k: Number of neighbours of the graph that the block builds, itself among them; lowered
            where a graph has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered likewise.
        heads: Groups of the transposed convolution, a divisor of ``channels``.
        operator: As of :class:`ConvViG`; ``"max_relative"`` is
            :class:`~pyg_viglad.nn.MaxRelativeDeconv`.
        ffn_ratio: Width of the feed-forward network, as a multiple of ``channels``.
        drop_path: Probability in [0, 1) to leave a branch out in training.
        kernel_size: Kernel of the transposed convolution, 1 or 3. With 3, ``forward`` needs
            ``grid_size``; other operators than ``"max_relative"`` have 1 only.
        reduce_ratio: Choose the neighbours among averages of so many rows and columns of nodes
            (Pyramid ViG's 4, 2, 1, 1; not in the paper). Above 1, ``forward`` needs ``grid_size``.
        relative_position: Count the nodes' distance on the grid as Pyramid ViG does (not in the
            paper); ``forward`` then needs ``grid_size``.

    Shapes:
        - **input:** features ``[N, channels]``, optionally ``edge_index`` ``[2, E]``.
        - **output:** ``[N, channels]``.

    Raises:
        ValueError: If an argument is out of range or the operator does not fit.

    Example:
        >>> import torch
        >>> block = DeconvViG(16, k=4, kernel_size=3)
        >>> block(torch.rand(18, 16), batch_size=2, grid_size=(3, 3)).shape
        torch.Size([18, 16])
    """

    def __init__(
        self,
        channels: int,
        k: int,
        dilation: int = 1,
        heads: int = 4,
        operator: Operator = "max_relative",
        ffn_ratio: float = 4,
        drop_path: float = 0.0,
        kernel_size: int = 1,
        *,
        reduce_ratio: int = 1,
        relative_position: bool = False,
    ) -> None:
        conv: nn.Module
        if operator == "max_relative":
            conv = MaxRelativeDeconv(channels, 2 * channels, heads, kernel_size)
        elif kernel_size == 1:
            conv = make_operator(operator, channels, 2 * channels, heads)
        else:
            raise ValueError(
                f"Expected 'kernel_size' to be 1 with operator {operator!r} (got {kernel_size})"
            )
        super().__init__(
            conv, channels, k, dilation, ffn_ratio, drop_path, reduce_ratio, relative_position
        )
