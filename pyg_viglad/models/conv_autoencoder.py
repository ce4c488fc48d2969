"""EfficientAD's convolutional autoencoder, the baseline for the graph autoencoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_viglad.transforms import as_size, to_batch

__all__ = ["ConvAutoEncoder"]

# Sides of the grids before the decoder's convolutions: the image's side divided by the first number,
# minus the second. For 256 pixels: 3, 8, 15, 32, 63 and 127.
_GRIDS = ((64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1))


class ConvAutoEncoder(nn.Module):
    """The convolutional autoencoder of EfficientAD (Batzner et al., WACV 2024, Table 8).

    Five strided convolutions and one over the whole remaining grid reduce the image to 64 numbers; six
    bilinear enlargements, each followed by a convolution, expand them again. At other image sizes than
    EfficientAD's 256 pixels the enlargements keep their ratios.

    Args:
        out_channels: Width of the output, that of the teacher (default: 384).
        image_size: Side or ``(height, width)`` of the images, at least 64 pixels, divisible by 4
            (default: 256).
        dropout: Dropout in the decoder (default: 0.2).

    Shapes:
        - **input:** images ``[B, 3, H, W]`` of exactly ``image_size``, or a ``Batch`` with ``img``.
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
        height, width = as_size(image_size)
        if min(height, width) < 64 or height % 4 or width % 4:
            raise ValueError(
                f"Expected 'image_size' of at least 64 pixels, divisible by 4 (got {height} x {width})"
            )
        self.image_size = (height, width)
        self.out_channels = out_channels
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, (height // 32, width // 32)),
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 64, 4, padding=2), nn.ReLU(), nn.Dropout(dropout))
            for _ in _GRIDS
        )
        self.head = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, out_channels, 3, padding=1)
        )
        self.to(memory_format=torch.channels_last)  # a tenth faster on CPU

    def forward(self, images: Tensor | Batch) -> Tensor:
        """Computes the reconstruction of the teacher's features."""
        images = to_batch(images, normalized=True)
        height, width = self.image_size
        if images.shape[-2:] != self.image_size:
            raise ValueError(
                f"Expected images of {height} x {width} pixels "
                f"(got {images.size(2)} x {images.size(3)})"
            )
        x = self.encoder(images)
        for layer, (share, less) in zip(self.decoder, _GRIDS, strict=True):
            grid = [max(1, side // share - less) for side in self.image_size]
            x = layer(F.interpolate(x, size=grid, mode="bilinear", align_corners=False))
        grid = [(side - 32) // 4 for side in self.image_size]
        x = F.interpolate(x, size=grid, mode="bilinear", align_corners=False)
        return self.head(x)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.out_channels}, image_size={self.image_size})"
