"""EfficientAD's convolutional autoencoder, the baseline in the place of the graph one."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_viglad.transforms import to_batch

__all__ = ["ConvAutoEncoder"]


class ConvAutoEncoder(nn.Module):
    """The convolutional autoencoder of EfficientAD, for comparison with the graph one.

    Five strided convolutions and one over the whole remaining grid squeeze the image into 64 numbers;
    six bilinear enlargements, each followed by a convolution, bring it back (Batzner et al., WACV
    2024, Table 8). With other image sizes than EfficientAD's 256 the enlargements keep its ratios.

    Args:
        out_channels: Width of the output, that of the teacher.
        image_size: Side or ``(height, width)`` of the images, at least 32 pixels, divisible by 4.
        dropout: Dropout in the decoder (EfficientAD: 0.2).

    Shapes:
        - **input:** images ``[B, 3, H, W]`` of exactly ``image_size``.
        - **output:** ``[B, out_channels, (H - 32) / 4, (W - 32) / 4]``, the grid of an unpadded PDN.

    Raises:
        ValueError: If the images have another size.

    Example:
        >>> import torch
        >>> ConvAutoEncoder(image_size=96)(torch.rand(1, 3, 96, 96)).shape
        torch.Size([1, 384, 16, 16])
    """

    def __init__(
        self,
        out_channels: int = 384,
        image_size: int | tuple[int, int] = 256,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(size) < 64 or size[0] % 4 or size[1] % 4:
            raise ValueError(
                f"Expected 'image_size' of at least 64 pixels, divisible by 4 (got {size[0]} x {size[1]})"
            )
        self.image_size = size
        self.out_channels = out_channels
        widths = (3, 32, 32, 64, 64, 64)
        encoder: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            encoder += [nn.Conv2d(wide, narrow, 4, stride=2, padding=1), nn.ReLU()]
        bottom = (size[0] // 32, size[1] // 32)
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(64, 64, bottom))
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 64, 4, padding=2), nn.ReLU(), nn.Dropout(dropout))
            for _ in range(6)
        )
        self.head = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, out_channels, 3, padding=1)
        )
        self.to(memory_format=torch.channels_last)  # a tenth faster on CPU

    def forward(self, images: Tensor | Batch) -> Tensor:
        """Reconstruct the teacher's features of the images."""
        images = to_batch(images, normalized=True)
        height, width = self.image_size
        if images.shape[-2:] != (height, width):
            raise ValueError(
                f"Expected images of {height} x {width} pixels "
                f"(got {images.size(2)} x {images.size(3)})"
            )
        x = self.encoder(images)
        # 3, 8, 15, 32, 63 and 127 for 256 pixels: a 64th, 32nd, ... half, every other one less 1.
        for number, layer in enumerate(self.decoder):
            share, less = 2 ** (6 - number), (number + 1) % 2 if number < 4 else 1
            grid = [max(1, side // share - less) for side in (height, width)]
            x = layer(F.interpolate(x, size=grid, mode="bilinear", align_corners=False))
        grid = [(side - 32) // 4 for side in (height, width)]
        x = F.interpolate(x, size=grid, mode="bilinear", align_corners=False)
        return self.head(x)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.out_channels}, image_size={self.image_size})"
