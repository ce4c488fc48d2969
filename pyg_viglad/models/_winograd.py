"""Convolutions with 4 x 4 kernels by Winograd's minimal filtering, for inference on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FastConv"]

# Rows of 2 x 2 tiles at once: their transforms stay in the cache.
_TILE_ROWS = 7


class FastConv:
    r"""Applies a convolution with a 4 x 4 kernel of stride 1 at 25 products a 2 x 2 outputs, not 64.

    Winograd's :math:`F(2 \times 2, 4 \times 4)` (Lavin and Gray, CVPR 2016),

    .. math::
        Y = A^T \left[ (G g G^T) \odot (B^T d B) \right] A

    with the interpolation points 0, 1, -1, 2 and infinity; in float32 its rounding errors are about twice
    those of the plain convolution. The transformed kernels are kept, with a copy of the weights that they
    are made of.

    Args:
        conv: The convolution.

    Example:
        >>> conv = torch.nn.Conv2d(64, 8, 4)
        >>> x = torch.randn(1, 64, 9, 10)
        >>> with torch.no_grad():
        ...     torch.allclose(FastConv(conv)(x), conv(x), atol=1e-5)
        True
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        self._weight: Tensor | None = None
        self._kernels = torch.empty(0)

    @staticmethod
    def pays(conv: nn.Conv2d, x: Tensor) -> bool:
        """Tell whether this way is open and the faster one: wide kernels, float32, CPU, no gradient."""
        return (
            conv.kernel_size == (4, 4)
            and conv.in_channels >= 64
            and x.device.type == "cpu"
            and x.dtype == conv.weight.dtype == torch.float32
            and min(x.shape[-2:]) >= 16
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and not torch._C._get_tracing_state()
        )

    def __call__(self, x: Tensor, channels: slice | None = None) -> Tensor:
        """Convolve ``[B, C, H, W]``, channels last; give some of the output's channels or all."""
        height, width = (side + 2 * self.conv.padding[0] - 3 for side in x.shape[-2:])  # type: ignore[operator]
        kernels, bias = self._transformed(), self.conv.bias
        if channels is not None:
            kernels = kernels[:, :, channels]
            bias = None if bias is None else bias[channels]
        pad = int(self.conv.padding[0])
        # An odd side gets a row more, which is cut off again.
        x = F.pad(x, (pad, pad + width % 2, pad, pad + height % 2))
        x = x.permute(0, 2, 3, 1).contiguous()
        out = x.new_empty(x.size(0), height + height % 2, width + width % 2, kernels.size(2))
        for image, place in zip(x, out, strict=True):
            _convolve(image, kernels, place)
        if bias is not None:
            out += bias
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def _transformed(self) -> Tensor:
        """Give the transformed kernels ``[25, C_in, C_out]`` of the weights as they are now."""
        weight = self.conv.weight.detach()
        if self._weight is None or not torch.equal(self._weight, weight):
            rows = weight.permute(1, 0, 2, 3).reshape(-1, 16) @ _KERNEL.T
            rows = rows.view(weight.size(1), weight.size(0), 25)
            self._kernels = rows.permute(2, 0, 1).contiguous()
            self._weight = weight.clone()
        return self._kernels


def _convolve(image: Tensor, kernels: Tensor, out: Tensor) -> None:
    """Convolve one image ``[H, W, C]``."""
    tall, wide = out.size(0) // 2, out.size(1) // 2
    row, column, one = image.stride()
    for first in range(0, tall, _TILE_ROWS):
        rows = min(_TILE_ROWS, tall - first)
        strip = image[2 * first :]
        tiles = strip.as_strided(
            (5, 5, rows, wide, image.size(2)),
            (row, column, 2 * row, 2 * column, one),
            strip.storage_offset(),
        )
        changed = (_INPUT @ tiles.reshape(25, -1)).view(25, rows * wide, -1)
        products = torch.bmm(changed, kernels).view(25, -1)
        values = (_OUTPUT @ products).view(2, 2, rows, wide, -1)
        target = out[2 * first : 2 * (first + rows)].view(rows, 2, wide, 2, -1)
        target.copy_(values.permute(2, 0, 3, 1, 4))


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Build the transforms of kernel, input and output, for both dimensions at once.

    Polynomials of degrees 1 and 3 are multiplied by their values at five points; transposed, that is
    the filter.
    """
    points = torch.tensor([0.0, 1.0, -1.0, 2.0], dtype=torch.float64)

    def values(degree: int) -> Tensor:
        powers = points[:, None] ** torch.arange(degree)
        infinity = torch.zeros(1, degree, dtype=torch.float64)
        infinity[0, -1] = 1
        return torch.cat([powers, infinity])

    parts = (values(4), torch.linalg.inv(values(5)).T, values(2).T)
    kernel, input_, output = (torch.kron(part, part).float() for part in parts)
    return kernel, input_, output


_KERNEL, _INPUT, _OUTPUT = _matrices()
