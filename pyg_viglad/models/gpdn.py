"""The patch description network with a vision graph block."""

import torch
from torch import Tensor, nn

from pyg_viglad.models.pdn import PDN, PDNSize
from pyg_viglad.nn import ConvViG, Operator, to_maps, to_nodes

__all__ = ["GPDN"]


class GPDN(PDN):
    r"""A patch description network whose patches also see the most similar ones of the whole image.

    The ablation of Figure 4 of the paper has "vision graph blocks in the teacher and student networks"
    (Section V) and says no more. This is our reading of it: a :class:`~pyg_viglad.PDN` in which one
    :class:`~pyg_viglad.nn.ConvViG` stands in the place of the 3 x 3 convolution, the third of "small" and
    the fourth of "medium". Its nodes are all places of the grid at stride 4, one graph an image, built from
    the features that enter the block. All else is the PDN's, the sizes and the places that vectors describe
    too: where the unpadded convolution would lose the outermost places, they are cut off behind the block.

    Args:
        size: ``"small"`` (2.9 M weights at 384 channels) or ``"medium"`` (8.8 M).
        out_channels: Width of the output: 384 for a teacher, 768 for a student.
        padding: Pad as in distillation, so that the output has a quarter of the input's size. Off in
            training and use, where the output has ``(H - 32) / 4`` rows.
        k: Number of neighbours of every node, itself among them.
        operator: Its graph operator: a name or a factory ``(in_channels, out_channels) ->
            MessagePassing``.

    Shapes:
        - **input:** images ``[B, 3, H, W]``, ImageNet-normalised, ``H`` and ``W`` divisible by 4.
        - **output:** ``[B, out_channels, (H - 32) / 4, (W - 32) / 4]``, or ``[B, out_channels, H / 4,
          W / 4]`` with ``padding=True``.

    Raises:
        ValueError: If an argument is out of range or unknown.

    Example:
        >>> import torch
        >>> student = GPDN("small", 768).eval()
        >>> student(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 768, 16, 16])
    """

    receptive_field = 25  # of the convolutions; the neighbours may lie anywhere

    def __init__(
        self,
        size: PDNSize = "small",
        out_channels: int = 384,
        padding: bool = False,
        k: int = 9,
        operator: Operator = "max_relative",
    ) -> None:
        super().__init__(size, out_channels, padding)
        self.k = k
        self.operator = operator if isinstance(operator, str) else None
        self._place = 3 if size == "small" else 4
        replaced: nn.Conv2d = self.get_submodule(f"conv{self._place}")  # type: ignore[assignment]
        delattr(self, f"conv{self._place}")
        self.vig = ConvViG(replaced.in_channels, k, operator=operator)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        self.vig.reset_parameters()

    def trunk(self, images: Tensor) -> Tensor:
        """Run all layers but the last, in evaluation in float32 also under autocast."""
        if self.training:
            return super().trunk(images)
        # Rounded features have other nearest neighbours: scores want the graphs of float32.
        with torch.autocast(images.device.type, enabled=False):
            return super().trunk(images)

    def _convolve(self, number: int, x: Tensor, channels: slice | None = None) -> Tensor:
        if number != self._place:
            return super()._convolve(number, x, channels)
        nodes: Tensor = self.vig(to_nodes(x), batch_size=x.size(0))
        maps = to_maps(nodes, (x.size(2), x.size(3)))
        return maps if self.padding else maps[:, :, 1:-1, 1:-1]

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, k={self.k}, {self.operator or 'custom'})"
