"""The block of the encoder."""

from pyg_viglad.nn._vig_block import ViGBlock
from pyg_viglad.nn.conv.operator import Operator, make_operator

__all__ = ["ConvViG"]


class ConvViG(ViGBlock):
    r"""The Convolution Vision Graph block (Eq. 6-7).

    .. math::
        Y &= FC_{gOut} \left[ \sigma_g \left[ GraphConv(FC_{gIn}(P)) \right] \right] + P \\
        Z &= FC_{FFN2} \left[ \sigma_{FFN} \left[ FC_{FFN1}(Y) \right] \right] + Y

    Each linear layer is followed by batch normalization, as in ViG. The graph operator doubles the
    channels, :math:`FC_{gOut}` halves them.

    Args:
        channels: Width of the nodes' features.
        k: Number of neighbours of the graph that the block builds, itself among them; lowered
            where a graph has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered likewise.
        heads: Groups of the operator's linear layer, a divisor of ``channels``.
        operator: A name of ``pyg_viglad.nn.OPERATORS``, a factory
            ``(in_channels, out_channels) -> MessagePassing``, or an operator.
        ffn_ratio: Width of the feed-forward network, as a multiple of ``channels``.
        drop_path: Probability in [0, 1) to leave a branch out in training.
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
        >>> block = ConvViG(16, k=4)
        >>> x, edge_index = block(torch.rand(18, 16), batch_size=2, return_edge_index=True)
        >>> x.shape, edge_index.shape
        (torch.Size([18, 16]), torch.Size([2, 72]))
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
        *,
        reduce_ratio: int = 1,
        relative_position: bool = False,
    ) -> None:
        conv = make_operator(operator, channels, 2 * channels, heads)
        super().__init__(
            conv, channels, k, dilation, ffn_ratio, drop_path, reduce_ratio, relative_position
        )
