"""The patch description network of EfficientAD, teacher and student of ViGLAD."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_viglad.models._winograd import FastConv

__all__ = ["PDN", "PDNSize"]

PDNSize = Literal["small", "medium"]

# Kernel, width and padding (where asked for) of each convolution; a width of None is the output's.
_LAYERS: dict[str, tuple[tuple[int, int | None, int], ...]] = {
    "small": ((4, 128, 3), (4, 256, 3), (3, 256, 1), (4, None, 0)),
    "medium": ((4, 256, 3), (4, 512, 3), (1, 512, 0), (3, 512, 1), (4, None, 0), (1, None, 0)),
}


class PDN(nn.Module):
    r"""The patch description network: a receptive field of 33 x 33 pixels, one vector each 4 pixels.

    Every output vector describes one 33 x 33 patch and nothing else; the teacher :math:`T` and the
    student :math:`S` of ViGLAD (Section III-D of the paper) have these layers, which are those of
    EfficientAD (Batzner et al., WACV 2024, Tables 6 and 7): four ("small") or six ("medium")
    convolutions with ReLU between them and an average pooling after each of the first two.

    Args:
        size: ``"small"`` (2.7 M weights at 384 channels) or ``"medium"`` (8.0 M).
        out_channels: Width of the output: 384 for a teacher, 768 for a student.
        padding: Pad as in distillation, so that the output has a quarter of the input's size. Off in
            training and use, where the output has ``(H - 32) / 4`` rows.

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

    receptive_field = 33
    stride = 4

    def __init__(
        self, size: PDNSize = "small", out_channels: int = 384, padding: bool = False
    ) -> None:
        super().__init__()
        if size not in _LAYERS:
            raise ValueError(f"Expected 'size' to be 'small' or 'medium' (got {size!r})")
        self.size = size
        self.out_channels = out_channels
        self.padding = padding
        self._num_convs = len(_LAYERS[size])
        self._fast: dict[int, FastConv] = {}
        channels = 3
        for number, (kernel, width, pad) in enumerate(_LAYERS[size], start=1):
            conv = nn.Conv2d(channels, width or out_channels, kernel, padding=pad if padding else 0)
            self.add_module(f"conv{number}", conv)
            channels = conv.out_channels
        self.to(memory_format=torch.channels_last)  # a fifth faster on CPU

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for conv in self.children():
            if isinstance(conv, nn.Conv2d):
                conv.reset_parameters()

    def forward(self, images: Tensor, channels: slice | None = None) -> Tensor:
        """Describe every patch of the images.

        Args:
            images: The images.
            channels: Compute these channels of the output alone.
        """
        return self.head(self.trunk(images), channels)

    def trunk(self, images: Tensor) -> Tensor:
        """Run all layers but the last, which :meth:`head` is."""
        x = images
        for number in range(1, self._num_convs):
            if number == 1 and not torch.is_grad_enabled():
                conv: nn.Conv2d = self.get_submodule("conv1")  # type: ignore[assignment]
                # Pixels rounded to bfloat16 are half of the error of its scores, and a fiftieth of the work.
                with torch.autocast(x.device.type, enabled=False):
                    x = conv(x.to(conv.weight.dtype))
            else:
                x = self._convolve(number, x)
            x = F.relu_(x)  # in place: the first map is the largest tensor of a training step
            if number <= 2:
                x = F.avg_pool2d(x, 2, 2, padding=1 if self.padding else 0)
        return x

    def head(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Run the last layer on what :meth:`trunk` gives, for some of its output channels or all."""
        return self._convolve(self._num_convs, x, channels)

    def _convolve(self, number: int, x: Tensor, channels: slice | None = None) -> Tensor:
        conv: nn.Conv2d = self.get_submodule(f"conv{number}")  # type: ignore[assignment]
        if FastConv.pays(conv, x):
            fast = self._fast.get(number)
            if fast is None or fast.conv is not conv:
                fast = self._fast[number] = FastConv(conv)
            return fast(x, channels)
        if channels is None:
            return conv(x)  # type: ignore[no-any-return]
        bias = None if conv.bias is None else conv.bias[channels]
        return F.conv2d(x, conv.weight[channels], bias, padding=conv.padding)

    def __getstate__(self) -> dict[str, Any]:
        # Copies make what is made of the weights anew.
        return {**self.__dict__, "_fast": {}}

    def __repr__(self) -> str:
        padding = ", padding=True" if self.padding else ""
        return f"{self.__class__.__name__}({self.size}, {self.out_channels}{padding})"
