"""A Gaussian for every node: the score A_n, beyond the paper."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.scoring._node_grid import NodeGrid

__all__ = ["NodeGaussian"]


class NodeGaussian(NodeGrid):
    r"""Eq. 18 for every node: a Mahalanobis distance under a Gaussian of its own.

    .. math::
        A_n(i) = \sqrt{(f_i - \mu_i)^T \Sigma_i^{-1} (f_i - \mu_i)}, \qquad A_n = \max_i A_n(i)

    :math:`f_i` is the mean of the teacher's features over a small window around node :math:`i`;
    :math:`\mu_i` and :math:`\Sigma_i` (Ledoit-Wolf) are taken over the training images at that very
    place. Then :meth:`calibrate` standardises each node's distances by their mean and standard
    deviation over validation images, so that restless places do not hide quiet ones. The paper has no
    such score: it is an option here, never part of the paper's own. It suits images whose parts have
    their places.

    Args:
        window: Side of the window, in cells of the teacher's map.
        stride: Cells from one node to the next.
        channels: Number of channels, drawn at random with ``seed``; bounds the model's size.
        seed: Seed of the draw.

    Shapes:
        - **input:** teacher features ``[B, C, H, W]``.
        - **output:** ``[B, rows, columns]``, see :meth:`grid_size`: standard deviations above the
          validation images' mean distance, or distances before :meth:`calibrate`.

    Example:
        >>> import torch
        >>> nodes = NodeGaussian(window=2, stride=2, channels=3)
        >>> nodes.fit([torch.randn(50, 8, 4, 4, generator=torch.Generator().manual_seed(0))])
        >>> nodes(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 2, 2])
    """

    mean: Tensor
    precision: Tensor
    selected: Tensor
    centre: Tensor
    scale: Tensor
    _estimates = ("mean", "precision", "selected")
    _options = ("centre", "scale")

    def __init__(
        self, window: int = 4, stride: int = 2, channels: int = 100, seed: int = 0
    ) -> None:
        super().__init__()
        if window < 1 or stride < 1 or channels < 1:
            raise ValueError(
                "Expected 'window', 'stride' and 'channels' of at least 1 "
                f"(got {window}, {stride} and {channels})"
            )
        self.window = window
        self.stride = stride
        self.channels = channels
        self.seed = seed

    def _describe(self, features: Tensor) -> Tensor:
        """Give node vectors ``[B, rows, columns, channels]``."""
        window = (min(self.window, features.size(2)), min(self.window, features.size(3)))
        pooled = F.avg_pool2d(features[:, self.selected].float(), window, self.stride)
        return pooled.permute(0, 2, 3, 1)

    def fit(self, batches: list[Tensor], mirrors: Sequence[list[Tensor]] = ()) -> None:
        """Estimate the Gaussians over batches of normalised teacher features ``[B, C, H, W]``.

        Raises:
            ValueError: If there are fewer than 2 images, or mirror images, which no Gaussian needs.
        """
        from sklearn.covariance import LedoitWolf

        self._count(batches, mirrors)
        total = batches[0].size(1)
        generator = torch.Generator().manual_seed(self.seed)
        selected = torch.randperm(total, generator=generator)[: self.channels].sort().values
        self._store(selected=selected)
        vectors = torch.cat([self._describe(batch.detach()) for batch in batches])
        _, rows, columns, channels = vectors.shape
        by_node = vectors.double().flatten(1, 2).transpose(0, 1).cpu().numpy()
        fits = [LedoitWolf().fit(node) for node in by_node]
        mean = torch.stack([torch.from_numpy(fit.location_) for fit in fits])
        precision = torch.stack([torch.from_numpy(fit.precision_) for fit in fits])
        self._store(
            mean=mean.view(rows, columns, channels),
            precision=precision.view(rows, columns, channels, channels),
        )

    def calibrate(self, batches: list[Tensor]) -> None:
        """Standardise every node's distances over validation features ``[B, C, H, W]``."""
        distances = torch.cat([self._distances(batch) for batch in batches])
        std = distances.std(0, correction=0)
        # A place where few validation images happen to agree must not outshout all others.
        self._store(centre=distances.mean(0), scale=std.clamp(min=max(float(std.mean()) / 4, 1e-6)))

    def _distances(self, features: Tensor) -> Tensor:
        self._require_fit()
        centred = self._describe(features) - self.mean
        squared = torch.einsum("brci,rcij,brcj->brc", centred, self.precision, centred)
        return squared.clamp(min=0).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """Give every node's score."""
        distances = self._distances(features)
        if self.scale.numel() == 0:
            return distances
        return (distances - self.centre) / self.scale

    def extra_repr(self) -> str:
        """Show window, stride and channels."""
        return f"window={self.window}, stride={self.stride}, channels={self.channels}"
