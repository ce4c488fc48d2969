"""The feature score A_f: a Mahalanobis distance."""

import torch
from torch import Tensor

from pyg_viglad.scoring._fitted import Fitted

__all__ = ["Mahalanobis"]


class Mahalanobis(Fitted):
    r"""The Mahalanobis distance under a Gaussian of the training images (Eq. 18).

    .. math::
        A_f = M_G[f] = \sqrt{(f - \mu)^T \Sigma^{-1} (f - \mu)}

    where :math:`f` is the spatial mean of features and :math:`\Sigma` the Ledoit-Wolf estimate, as in
    PUAD: there are about as many training images as channels, so the sample covariance is singular.

    Shapes:
        - **input:** vectors ``[B, C]``.
        - **output:** distances ``[B]``, 0 at the mean.

    Example:
        >>> import torch
        >>> distance = Mahalanobis()
        >>> distance.fit(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)))
        >>> distance(distance.mean[None])
        tensor([0.])
    """

    mean: Tensor
    precision: Tensor
    _estimates = ("mean", "precision")

    def fit(self, features: Tensor) -> None:
        """Estimate the Gaussian of training vectors ``[n, C]``.

        Raises:
            ValueError: If there are fewer than 2 vectors or one is not finite.
        """
        from sklearn.covariance import LedoitWolf

        if features.dim() != 2 or features.size(0) < 2 or not torch.isfinite(features).all():
            raise ValueError(
                f"Expected at least 2 finite training vectors [n, C] (got {list(features.shape)})"
            )
        estimate = LedoitWolf().fit(features.detach().double().cpu().numpy())
        self._store(
            mean=torch.from_numpy(estimate.location_),
            precision=torch.from_numpy(estimate.precision_),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Give the distance of each vector."""
        self._require_fit()
        centred = features.float() - self.mean
        squared = ((centred @ self.precision) * centred).sum(-1)
        return squared.clamp(min=0).sqrt()
