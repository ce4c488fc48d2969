"""Per-channel standardisation of the teacher's output."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pyg_viglad.scoring._fitted import Fitted

__all__ = ["ChannelNormalization"]


class ChannelNormalization(Fitted):
    r"""Standardises every channel: :math:`(T(I)_c - \mu_c) / \sigma_c` over the training images.

    EfficientAD takes these statistics before any loss or map, so that all channels weigh the same;
    here they are accumulated in float64, which does not cancel. A constant channel is only centred.

    Shapes:
        - **input and output:** ``[B, C, H, W]``.

    Example:
        >>> import torch
        >>> normalize = ChannelNormalization()
        >>> normalize.fit([torch.arange(8.).view(2, 1, 2, 2)])
        >>> normalize(torch.full((1, 1, 1, 1), 3.5))
        tensor([[[[0.]]]])
    """

    mean: Tensor
    std: Tensor
    _estimates = ("mean", "std")

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Estimate mean and standard deviation over all pixels of all batches ``[B, C, H, W]``.

        Raises:
            ValueError: If there is no batch.
        """
        count = 0
        mean = spread = torch.zeros(0)
        for batch in batches:
            values = batch.detach().double().transpose(0, 1).flatten(1)
            number = values.size(1)
            batch_mean = values.mean(1)
            batch_spread = (values - batch_mean[:, None]).square().sum(1)
            if count == 0:
                mean, spread = torch.zeros_like(batch_mean), torch.zeros_like(batch_mean)
            # Chan's update of mean and sum of squares by a whole batch.
            shift = batch_mean - mean
            mean = mean + shift * number / (count + number)
            spread = spread + batch_spread + shift.square() * count * number / (count + number)
            count += number
        if count == 0:
            raise ValueError("Expected at least one training image (got none)")
        std = (spread / count).sqrt()
        self._store(mean=mean, std=torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, features: Tensor) -> Tensor:
        """Standardise features."""
        self._require_fit()
        return (features - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)
