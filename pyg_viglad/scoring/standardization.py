"""Standardisation of image scores."""

import torch
from torch import Tensor

from pyg_viglad.scoring._fitted import Fitted

__all__ = ["Standardization"]


class Standardization(Fitted):
    """Centres scores by the mean of the validation scores and divides by their standard deviation.

    PUAD (Sugawara and Imamura, ICIP 2024) adds scores of different scale after this step. A standard
    deviation of 0 becomes 1e-6.

    Example:
        >>> import torch
        >>> standardize = Standardization()
        >>> standardize.fit(torch.tensor([1., 3.]))
        >>> standardize(torch.tensor([4.]))
        tensor([2.])
    """

    mean: Tensor
    std: Tensor
    _estimates = ("mean", "std")

    def fit(self, scores: Tensor) -> None:
        """Take mean and standard deviation of scores ``[n]``.

        Raises:
            ValueError: If there is no score or one is not finite.
        """
        if not scores.numel() or not torch.isfinite(scores).all():
            raise ValueError(f"Expected finite validation scores (got {scores.tolist()[:5]})")
        scores = scores.double()
        self._store(mean=scores.mean(), std=scores.std(correction=0).clamp(min=1e-6))

    def forward(self, scores: Tensor) -> Tensor:
        """Standardise scores of any shape."""
        self._require_fit()
        return (scores - self.mean) / self.std
