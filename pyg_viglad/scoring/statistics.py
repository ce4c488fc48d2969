"""Statistics of normal images, which turn features and maps into scores."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.nn import KeepTypes
from pyg_viglad.scoring.shards import ALONE, Shards

__all__ = [
    "ChannelNormalization",
    "Mahalanobis",
    "MapCalibration",
    "Standardization",
    "Statistics",
    "StatisticsOfImages",
    "Whitening",
    "ledoit_wolf",
    "scale_or_one",
    "upper_quantile",
]

_ROUNDING = 1e-5  # relative error of scores in float32


class Statistics(KeepTypes):
    """Base class of modules whose buffers are estimated from data by ``fit``.

    The buffers are saved with the model, and stay in float32 where networks are converted to another type.
    Use before ``fit`` raises ``ValueError``, as does an estimate that is not finite.

    Attributes:
        fitted: Whether the buffers are estimated. It is saved with them, but no buffer itself: to read one
            would wait for the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fitted = False

    def _store(self, **estimates: Tensor) -> None:
        """Sets buffers, keeping their types and devices."""
        for name, value in estimates.items():
            if not value.isfinite().all():
                raise ValueError(
                    f"Expected finite statistics (got some that are not: '{name}' of "
                    f"{type(self).__name__})"
                )
            setattr(self, name, value.detach().to(self.get_buffer(name)).contiguous())
        self.fitted = True

    def _require_fit(self) -> None:
        if not self.fitted:
            raise ValueError(f"Expected fit() before use (got a {type(self).__name__} not fitted)")

    def extra_repr(self) -> str:
        """Shows whether the module is fitted."""
        return "" if self.fitted else "not fitted"

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._save_to_state_dict(destination, prefix, *args)
        destination[prefix + "fitted"] = torch.tensor(self.fitted)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        metadata: dict[str, Any],
        strict: bool,
        missing: list[str],
        *args: Any,
    ) -> None:
        key = prefix + "fitted"
        if key in state_dict:
            self.fitted = bool(state_dict.pop(key))
        elif strict:
            missing.append(key)
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *args)


class StatisticsOfImages(Statistics):
    """Base class of statistics whose buffers have sizes that depend on the images.

    Loading a saved model takes the sizes from it.
    """

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            if prefix + name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


class ChannelNormalization(Statistics):
    r"""Standardises every channel: :math:`(T(I)_c - \mu_c) / \sigma_c` over the training images.

    EfficientAD takes these statistics before any loss or map, so that all channels have the same weight.
    They are accumulated in float64. A constant channel is only centred.

    Args:
        channels: Number of channels C.

    Shapes:
        - **input and output:** ``[B, C, H, W]``.

    Example:
        >>> import torch
        >>> normalize = ChannelNormalization(1)
        >>> normalize.fit([torch.arange(8.).view(2, 1, 2, 2)])
        >>> normalize(torch.full((1, 1, 1, 1), 3.5))
        tensor([[[[0.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, batches: Iterable[Tensor], shards: Shards = ALONE) -> None:
        """Estimates mean and standard deviation over all pixels of all batches ``[B, C, H, W]``.

        Args:
            batches: The features, in several processes those of this one's images.
            shards: The processes among which the images are dealt.

        Raises:
            ValueError: If there is no batch, or a value is not finite.
        """
        mean, variance = _moments(batches, lambda centered: centered.square().mean(1), shards)
        self._store(mean=mean, std=_standard_deviations(variance))

    def standardize(self, features: Tensor) -> Tensor:
        """Standardises features."""
        self._require_fit()
        return (features - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)

    def project(self, standardized: Tensor) -> Tensor:
        """Returns standardised features as they are."""
        return standardized

    def forward(self, features: Tensor) -> Tensor:
        """Standardises features, then projects them."""
        return self.project(self.standardize(features))


class Whitening(ChannelNormalization):
    r"""Standardises channels and whitens them by a shrunk PCA over the training images.

    .. math::
        y = \gamma \, (\Lambda_D + \lambda \Lambda_1 I)^{-1/2} \, V_D^T \, \frac{T(I) - \mu}{\sigma}

    :math:`V_D` are the first D principal axes of the standardised channels, :math:`\Lambda_D` their
    variances, :math:`\Lambda_1` the largest, and :math:`\gamma` makes the mean variance of the output 1.
    Correlated channels count several times in a sum of squared differences, and once after whitening.
    Mean and covariance are accumulated in float64.

    Args:
        channels: Number of channels C.
        directions: Number of principal axes D, at most C.
        shrinkage: :math:`\lambda`, the share of the largest variance that is added to every variance
            (default: 0.02). The larger it is, the less the small variances are enlarged; with ``inf``
            all keep their ratios: a plain PCA.

    Shapes:
        - **input:** ``[B, C, H, W]``.
        - **output:** ``[B, D, H, W]``.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> whiten = Whitening(4, directions=2)
        >>> whiten.fit([torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))])
        >>> whiten(torch.zeros(1, 4, 3, 3)).shape
        torch.Size([1, 2, 3, 3])
    """

    projection: Tensor  # [D, C], of standardised features

    def __init__(self, channels: int, directions: int, shrinkage: float = 0.02) -> None:
        super().__init__(channels)
        if not 1 <= directions <= channels:
            raise ValueError(f"Expected from 1 to {channels} directions (got {directions})")
        if not shrinkage > 0:
            raise ValueError(f"Expected 'shrinkage' above 0 (got {shrinkage})")
        self.shrinkage = shrinkage
        self.register_buffer("projection", torch.eye(directions, channels))

    def fit(self, batches: Iterable[Tensor], shards: Shards = ALONE) -> None:
        """Estimates mean, standard deviation and projection over all pixels of all batches.

        Args:
            batches: The features, in several processes those of this one's images.
            shards: The processes among which the images are dealt.

        Raises:
            ValueError: If there is no batch, or a value is not finite.
        """
        mean, covariance = _moments(
            batches, lambda centered: centered @ centered.T / centered.size(1), shards
        )
        std = _standard_deviations(covariance.diagonal())
        variances, axes = torch.linalg.eigh(covariance / torch.outer(std, std))
        directions = self.projection.size(0)
        variances = variances.flip(0)[:directions].clamp(min=0)
        axes = axes.flip(1)[:, :directions]
        # Of the two signs of an axis, the one whose largest entry is positive.
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        scale = torch.ones_like(variances)
        if math.isfinite(self.shrinkage):
            scale = (variances + self.shrinkage * variances[0].clamp(min=1e-12)).rsqrt()
        scale = scale / (variances * scale.square()).mean().sqrt().clamp(min=1e-6)
        self._store(mean=mean, std=std, projection=(axes * scale).T)

    def project(self, standardized: Tensor) -> Tensor:
        """Whitens standardised features, also under autocast in the buffers' precision."""
        with torch.autocast(standardized.device.type, enabled=False):
            return F.conv2d(standardized.to(self.projection), self.projection[:, :, None, None])

    def extra_repr(self) -> str:
        """Shows channels, directions and shrinkage."""
        directions, channels = self.projection.shape
        return f"{channels}, directions={directions}, shrinkage={self.shrinkage}"


class MapCalibration(Statistics):
    r"""Maps two quantiles of the validation maps to 0 and 0.1 (Section IV-C).

    .. math::
        m' = 0.1 \, \frac{m - q_{start}}{q_{end} - q_{start}}

    The quantiles are exact, over all pixels of all maps of normal validation images. Where they agree up to
    rounding (maps of black images), the denominator is taken as 1, with a warning.

    Args:
        start: Quantile that becomes 0 (default: 0.9).
        end: Quantile that becomes 0.1 (default: 0.995; the paper has 0.999 for Digit Anatomy).

    Raises:
        ValueError: Unless ``0 <= start < end <= 1``.

    Example:
        >>> import torch
        >>> calibrate = MapCalibration(0.5, 1.0)
        >>> calibrate.fit(torch.arange(5.).view(1, 1, 5))
        >>> calibrate(torch.tensor([2., 4., 6.]))
        tensor([0.0000, 0.1000, 0.2000])
    """

    q_start: Tensor
    q_end: Tensor

    def __init__(self, start: float = 0.9, end: float = 0.995) -> None:
        super().__init__()
        if not 0 <= start < end <= 1:
            raise ValueError(f"Expected 0 <= start < end <= 1 (got {start} and {end})")
        self.start = start
        self.end = end
        self.register_buffer("q_start", torch.tensor(0.0))
        self.register_buffer("q_end", torch.tensor(0.1))

    def fit(self, maps: Tensor, shards: Shards = ALONE) -> None:
        """Estimates the quantiles of maps ``[B, H, W]``.

        Args:
            maps: The maps, in several processes those of this one's images.
            shards: The processes among which the images are dealt.

        Raises:
            ValueError: If the maps are empty or not finite.
        """
        if not maps.numel() or not torch.isfinite(maps).all():
            raise ValueError(f"Expected finite validation maps (got {list(maps.shape)})")
        values = shards.gather(maps.detach()).double().cpu().numpy()
        start, end = torch.from_numpy(np.quantile(values, (self.start, self.end)))
        self._store(q_start=start, q_end=start + scale_or_one(end - start, end, "maps"))

    def forward(self, maps: Tensor) -> Tensor:
        """Calibrates maps of any shape."""
        self._require_fit()
        return 0.1 * (maps - self.q_start) / (self.q_end - self.q_start)


class Mahalanobis(Statistics):
    r"""Computes Mahalanobis distances under a Gaussian of the training images (Eq. 18).

    .. math::
        A_f = M_G[f] = \sqrt{(f - \mu)^T \Sigma^{-1} (f - \mu)}

    where :math:`f` is the spatial mean of features and :math:`\Sigma` the Ledoit-Wolf estimate, as in
    PUAD: with about as many training images as channels, the sample covariance is singular.

    Args:
        channels: Number of channels C.

    Shapes:
        - **input:** vectors ``[B, C]``.
        - **output:** distances ``[B]``, 0 at the mean.

    Example:
        >>> import torch
        >>> distance = Mahalanobis(3)
        >>> distance.fit(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)))
        >>> distance(distance.mean[None])
        tensor([0.])
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("precision", torch.eye(channels))

    def fit(self, features: Tensor) -> None:
        """Estimates the Gaussian of training vectors ``[n, C]``.

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
        """Computes the distance of each vector."""
        self._require_fit()
        centered = features - self.mean
        squared = ((centered @ self.precision) * centered).sum(-1)
        return squared.clamp(min=0).sqrt()


class Standardization(Statistics):
    """Standardises scores by mean and standard deviation of the validation scores.

    PUAD (Sugawara and Imamura, ICIP 2024) adds scores of different scale after this step. Where the scores
    agree up to rounding (a single image, or copies of it), the standard deviation says nothing: it is
    taken as 1, with a warning.

    Example:
        >>> import torch
        >>> standardize = Standardization()
        >>> standardize.fit(torch.tensor([1., 3.]))
        >>> standardize(torch.tensor([4.]))
        tensor([2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    def fit(self, scores: Tensor) -> None:
        """Estimates mean and standard deviation of scores ``[n]``.

        Raises:
            ValueError: If there is no score or one is not finite.
        """
        if not scores.numel() or not torch.isfinite(scores).all():
            raise ValueError(f"Expected finite validation scores (got {scores.tolist()[:5]})")
        scores = scores.double()
        mean, std = scores.mean(), scores.std(correction=0)
        self._store(mean=mean, std=scale_or_one(std, mean, "scores"))

    def forward(self, scores: Tensor) -> Tensor:
        """Standardises scores of any shape."""
        self._require_fit()
        return (scores - self.mean) / self.std


def scale_or_one(scale: Tensor, level: Tensor, what: str) -> Tensor:
    """Replaces scales of values that agree up to rounding by 1, with a warning.

    Args:
        scale: Standard deviations of validation images' values, or other measures of their spread.
        level: How large these values are, of the same shape.
        what: What they are, for the warning.

    Example:
        >>> import torch
        >>> scale_or_one(torch.tensor([0.1, 2.0]), torch.tensor([7.0, 7.0]), "scores")
        tensor([0.1000, 2.0000])
    """
    differ = scale > _ROUNDING * level.abs()
    if not differ.all():
        warnings.warn(
            f"Expected validation images whose {what} differ, to scale them "
            f"(got only {what} of {float(level[~differ][0]):.4g}): their scale is taken as 1",
            stacklevel=3,
        )
    return torch.where(differ, scale, torch.ones_like(scale))


def upper_quantile(scores: Tensor, quantile: float) -> Tensor:
    r"""Estimates a high quantile of scores of which there may be few.

    The empirical quantile of n scores lies between the two highest where :math:`n (1 - q) < 1`, and a new
    image exceeds these with a probability of 1 / (n + 1): with four validation images and a quantile of
    0.99, every fifth normal image would raise an alarm. Then the normal distribution's prediction bound is
    taken, if it is higher:

    .. math::
        \bar s + t_{n-1}(q) \, \hat\sigma \sqrt{1 + 1 / n}

    with Student's quantile :math:`t_{n-1}(q)` and the unbiased variance :math:`\hat\sigma^2`.

    Args:
        scores: ``[n]``.
        quantile: q in [0, 1].

    Returns:
        The quantile ``[]`` in float64; of a single score this score.

    Raises:
        ValueError: If there is no score or one is not finite.

    Example:
        >>> import torch
        >>> float(upper_quantile(torch.arange(101.), 0.9))
        90.0
        >>> float(upper_quantile(torch.tensor([1., 2., 3.]), 0.9))  # doctest: +ELLIPSIS
        4.177...
    """
    scores = scores.double()
    number = scores.numel()
    if not number or not scores.isfinite().all():
        raise ValueError(f"Expected finite scores (got {scores.tolist()[:5]})")
    estimate = torch.quantile(scores, quantile)
    if number < 2 or not 0 < 1 - quantile < 1 / number:
        return estimate
    from scipy.stats import t

    factor = float(t.ppf(quantile, number - 1)) * math.sqrt(1 + 1 / number)
    return torch.maximum(estimate, scores.mean() + factor * scores.std())


def ledoit_wolf(scatter: Tensor, fourth: Tensor, number: int) -> Tensor:
    r"""Computes the Ledoit-Wolf estimate of a covariance from sums, as scikit-learn does from vectors.

    .. math::
        \hat\Sigma = (1 - \rho) S + \rho \mu I, \qquad \mu = \frac{\mathrm{tr} S}{C}, \qquad
        \rho = \min\Big(1, \frac{\frac{1}{n} \sum_k \|x_k\|^4 - \|S\|_F^2}{n (\|S\|_F^2 - C \mu^2)}\Big)

    where :math:`S` is the covariance of the n centred vectors :math:`x_k`.

    Args:
        scatter: :math:`\sum_k x_k x_k^T`, ``[..., C, C]`` in float64.
        fourth: :math:`\sum_k \|x_k\|^4`, ``[...]``.
        number: The number n of vectors.

    Returns:
        The covariance, ``[..., C, C]``.

    Example:
        >>> import torch
        >>> from sklearn.covariance import LedoitWolf
        >>> x = torch.randn(9, 4, dtype=torch.float64)
        >>> x -= x.mean(0)
        >>> covariance = ledoit_wolf(x.T @ x, x.square().sum(1).square().sum(), 9)
        >>> torch.allclose(covariance, torch.from_numpy(LedoitWolf().fit(x.numpy()).covariance_))
        True
    """
    covariance = scatter / number
    channels = scatter.size(-1)
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    squared = covariance.square().sum((-2, -1))
    noise = (fourth / number - squared) / number
    distance = squared - channels * mean.square()
    # Of vectors all alike, or of a single channel, both are 0 up to rounding.
    shrinks = (noise > 0) & (distance > 0)
    share = torch.where(shrinks, (noise / distance).clamp(max=1), torch.zeros_like(noise))
    target = mean[..., None, None] * torch.eye(channels).to(scatter)
    return torch.lerp(covariance, target, share[..., None, None])


def _moments(
    batches: Iterable[Tensor], second: Callable[[Tensor], Tensor], shards: Shards
) -> tuple[Tensor, Tensor]:
    """Mean ``[C]`` and variance ``[C]`` or covariance ``[C, C]`` over all pixels of all batches.

    ``second`` computes the latter of one batch's centred values ``[C, pixels]``.
    """
    count = 0
    mean = spread = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        values = batch.detach().double().transpose(0, 1).flatten(1)
        number = values.size(1)
        batch_mean = values.mean(1)
        batch_spread = second(values - batch_mean[:, None])
        # Chan's update of mean and mean square by a whole batch.
        shift = batch_mean - mean.to(batch_mean)
        share = number / (count + number)
        between = shift.square() if batch_spread.dim() == 1 else torch.outer(shift, shift)
        mean = mean.to(shift) + shift * share
        spread = (
            spread.to(shift) * (1 - share) + batch_spread * share + between * share * (1 - share)
        )
        count += number
    if count == 0:
        raise ValueError("Expected at least one training image (got none)")
    share = count / int(shards.sum(count))
    whole = shards.sum(mean * share)
    shift = mean - whole
    between = shift.square() if spread.dim() == 1 else torch.outer(shift, shift)
    spread = shards.sum((spread + between) * share)
    if not spread.isfinite().all():
        raise ValueError("Expected finite features of the training images (got others)")
    return whole, spread


def _standard_deviations(variances: Tensor) -> Tensor:
    """Standard deviations, 1 for constant channels."""
    std = variances.sqrt()
    return torch.where(std > 1e-6, std, torch.ones_like(std))
