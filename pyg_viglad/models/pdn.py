"""The patch description network of EfficientAD, teacher and student of ViGLAD."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PDN", "PDNSize"]

PDNSize = Literal["small", "medium"]


class PDN(nn.Module):
    r"""The patch description network: one vector per 4 pixels, with a receptive field of 33 x 33 pixels.

    The teacher :math:`T` and the student :math:`S` of ViGLAD (Section III-D) have the layers of
    EfficientAD (Batzner et al., WACV 2024, Tables 6 and 7): four ("small") or six ("medium") convolutions
    with ReLU between them, and an average pooling after each of the first two.

    Args:
        size: ``"small"`` (2.7 M weights at 384 channels; default) or ``"medium"`` (8.0 M).
        out_channels: Width of the output: 384 for a teacher (default), 768 for a student.
        padding: Whether to pad as in distillation, so that the output has a quarter of the input's size;
            without (default), it has ``(H - 32) / 4`` rows.

    Shapes:
        - **input:** images ``[B, 3, H, W]``, ImageNet-normalised, ``H`` and ``W`` divisible by 4.
        - **output:** ``[B, out_channels, (H - 32) / 4, (W - 32) / 4]``, or ``[B, out_channels, H / 4,
          W / 4]`` with ``padding=True``.

    Raises:
        ValueError: If ``size`` is unknown.

    Example:
        >>> import torch
        >>> teacher = PDN("small")
        >>> teacher(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 384, 16, 16])
    """

    _has_conv3x3 = True  # a GPDN has a graph block in its place

    def __init__(
        self, size: PDNSize = "small", out_channels: int = 384, padding: bool = False
    ) -> None:
        super().__init__()
        if size not in ("small", "medium"):
            raise ValueError(f"Expected 'size' to be 'small' or 'medium' (got {size!r})")
        self.size = size
        self.out_channels = out_channels
        self.padding = padding
        wide, narrow = (3, 1) if padding else (0, 0)
        if size == "small":
            self.conv1 = nn.Conv2d(3, 128, 4, padding=wide)
            self.conv2 = nn.Conv2d(128, 256, 4, padding=wide)
            if self._has_conv3x3:
                self.conv3 = nn.Conv2d(256, 256, 3, padding=narrow)
            self.conv4 = nn.Conv2d(256, out_channels, 4)
        else:
            self.conv1 = nn.Conv2d(3, 256, 4, padding=wide)
            self.conv2 = nn.Conv2d(256, 512, 4, padding=wide)
            self.conv3 = nn.Conv2d(512, 512, 1)
            if self._has_conv3x3:
                self.conv4 = nn.Conv2d(512, 512, 3, padding=narrow)
            self.conv5 = nn.Conv2d(512, out_channels, 4)
            self.conv6 = nn.Conv2d(out_channels, out_channels, 1)
        self.to(memory_format=torch.channels_last)  # a fifth faster on CPU

    def reset_parameters(self) -> None:
        """Resets all parameters."""
        for layer in self.children():
            layer.reset_parameters()  # type: ignore[operator]

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of :func:`~pyg_viglad.models.make_network` for an unpadded network like this."""
        return {"name": "pdn", "size": self.size, "out_channels": self.out_channels}

    def forward(self, images: Tensor, channels: slice | None = None) -> Tensor:
        """Computes the vectors of all patches.

        Args:
            images: The images.
            channels: The output channels to compute (default: all). The last layer is by far the widest.
        """
        x = self.trunk(images)
        last = self.conv4 if self.size == "small" else self.conv6
        if channels is None:
            return last(x)  # type: ignore[no-any-return]
        bias = None if last.bias is None else last.bias[channels]
        return F.conv2d(x, last.weight[channels], bias)

    def trunk(self, images: Tensor) -> Tensor:
        """Computes the input of the last layer."""
        pad = 1 if self.padding else 0
        x: Tensor = F.relu_(self._first(images))  # in place: the largest map of a training step
        x = F.avg_pool2d(x, 2, 2, padding=pad)
        x = F.relu_(self.conv2(x))
        x = F.avg_pool2d(x, 2, 2, padding=pad)
        if self.size == "small":
            return F.relu_(self._context(x))
        x = F.relu_(self.conv3(x))
        x = F.relu_(self._context(x))
        return F.relu_(self.conv5(x))

    def _first(self, images: Tensor) -> Tensor:
        """The first layer, outside training in float32 also under autocast.

        Pixels rounded to bfloat16 cause half of the error of bfloat16 scores, the layer 2 % of the cost.
        """
        if torch.is_grad_enabled():
            return self.conv1(images)  # type: ignore[no-any-return]
        with torch.autocast(images.device.type, enabled=False):
            return self.conv1(images.to(self.conv1.weight.dtype))  # type: ignore[no-any-return]

    def _context(self, x: Tensor) -> Tensor:
        """The 3 x 3 convolution."""
        return (self.conv3 if self.size == "small" else self.conv4)(x)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        padding = ", padding=True" if self.padding else ""
        return f"{self.__class__.__name__}({self.size}, {self.out_channels}{padding})"
