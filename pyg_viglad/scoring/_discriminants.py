"""Linear discriminant analysis of places."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["discriminants"]

_SAMPLE = 20_000  # vectors that the covariance is estimated from


def discriminants(views: Sequence[Tensor], dimensions: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give mean ``[C]`` and directions ``[C, dimensions]`` that tell places and views apart.

    A class is a place in a view, the images are its members. Within classes the directions have unit
    covariance (Ledoit-Wolf); they come in the order of what lies between the classes' means.

    Args:
        views: Vectors ``[images, places, C]``, one tensor for each way of showing the images.
        dimensions: Number of directions, lowered to what the data allow.
        seed: Seed of the draw of vectors for the covariance.
    """
    from sklearn.covariance import LedoitWolf

    means = [view.mean(0) for view in views]
    generator = torch.Generator().manual_seed(seed)
    sample = []
    for view, mean in zip(views, means, strict=True):
        within = (view - mean).flatten(0, 1)
        chosen = torch.randperm(within.size(0), generator=generator)[: _SAMPLE // len(views)]
        sample.append(within[chosen.to(within.device)].double().cpu())
    fit = LedoitWolf(assume_centered=True).fit(torch.cat(sample).numpy())
    values, axes = torch.linalg.eigh(torch.from_numpy(fit.covariance_))
    whiten = axes * values.clamp(min=max(1e-8 * float(values.max()), 1e-12)).rsqrt()
    centres = torch.cat(means)
    shift = centres.mean(0)
    between = (centres - shift).double().cpu() @ whiten
    _, _, directions = torch.linalg.svd(between, full_matrices=False)
    projection = whiten @ directions[:dimensions].T
    return shift, projection.to(views[0])
