"""Pseudo-anomalies made of normal images, and weights of scores that tell them from these."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyg_viglad.scoring.statistics import Statistics, scale_or_one

__all__ = ["PseudoFusion", "PseudoKind", "pseudo_anomaly"]

PseudoKind = Literal["swap", "erase", "copy", "mirror"]

_SMALLEST, _LARGEST = 1 / 8, 1 / 3  # sides of a patch, in sides of the image
_FEW = 20  # validation images, below which weights are unreliable
_PLACES = 5  # places tried, of which the one that changes most is taken


def pseudo_anomaly(
    image: Tensor, kind: PseudoKind, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Makes a pseudo-anomaly of a normal image by changing one patch of it, or two.

    Height and width of a patch are drawn from an eighth to a third of the image's. Of five places drawn,
    the one where the image changes most is taken: background that changes places with background is no
    anomaly. A patch is blended in over an eighth of its sides, so that no edge gives it away.

    Args:
        image: ``[3, H, W]`` in [0, 1], at least 16 x 16 pixels.
        kind: ``"swap"`` exchanges two patches, ``"erase"`` fills one with the median colour of its
            surroundings, ``"copy"`` puts one over another, ``"mirror"`` flips one left to right or
            upside down.
        generator: Source of sizes and places, on the CPU.

    Returns:
        The changed image, and a mask ``[H, W]`` (bool) of its patches; outside of it nothing changed.

    Raises:
        ValueError: If the kind is unknown, or the image has another shape.

    Example:
        >>> import torch
        >>> image = torch.rand(3, 64, 64)
        >>> changed, mask = pseudo_anomaly(image, "swap", torch.Generator().manual_seed(0))
        >>> torch.equal(changed[:, ~mask], image[:, ~mask])
        True
    """
    if kind not in get_args(PseudoKind):
        raise ValueError(f"Expected 'kind' among {', '.join(get_args(PseudoKind))} (got {kind!r})")
    if image.dim() != 3 or image.size(0) != 3 or min(image.shape[1:]) < 16:
        raise ValueError(
            f"Expected an image [3, H, W] of at least 16 x 16 pixels (got {list(image.shape)})"
        )
    tried = [_change_one_place(image, kind, generator) for _ in range(_PLACES)]
    amounts = [float((changed - image)[:, mask].abs().mean()) for changed, mask in tried]
    return tried[amounts.index(max(amounts))]


class PseudoFusion(Statistics):
    r"""Adds scores with the weights that tell pseudo-anomalies from normal images.

    .. math::
        s = \sum_p w_p \frac{x_p - \mu_p}{\sigma_p}, \qquad w_p \ge 0, \quad \sum_p w_p = 1

    :math:`\mu_p` is the mean of part :math:`p` over normal validation images, :math:`\sigma_p` its standard
    deviation over these and the pseudo-anomalies, both groups weighing the same: with few validation images
    their own would be a matter of chance. The weights are those of an L2-regularised logistic regression. A
    part that would get a negative weight is left out, the one with the most negative weight first, and the
    others are fitted again. If none is left, all parts weigh the same.

    Args:
        names: Names of the parts; :meth:`forward` ignores others.
        regularization: scikit-learn's ``C``, the inverse of the regularisation's strength (default: 1).

    Shapes:
        - **input:** scores ``[B]`` by name.
        - **output:** ``[B]``.

    Raises:
        ValueError: If there is no name, or ``regularization`` is not above 0.

    Example:
        >>> import torch
        >>> fusion = PseudoFusion(["good", "blind"])
        >>> blind = torch.tensor([0.0, 1.0])
        >>> fusion.fit(
        ...     {"good": torch.tensor([0.0, 0.1]), "blind": blind},
        ...     {"good": torch.tensor([1.0, 1.1]), "blind": blind},
        ... )
        >>> fusion.as_dict()["good"] > 0.9
        True
    """

    mean: Tensor
    std: Tensor
    weights: Tensor

    def __init__(self, names: Sequence[str], regularization: float = 1.0) -> None:
        super().__init__()
        if not names:
            raise ValueError("Expected at least one name of a score (got none)")
        if not regularization > 0:
            raise ValueError(f"Expected 'regularization' above 0 (got {regularization})")
        self.names = tuple(names)
        self.regularization = regularization
        self.register_buffer("mean", torch.zeros(len(self.names)))
        self.register_buffer("std", torch.ones(len(self.names)))
        self.register_buffer("weights", torch.full((len(self.names),), 1 / len(self.names)))

    def fit(self, normal: Mapping[str, Tensor], pseudo: Mapping[str, Tensor]) -> None:
        """Estimates means, standard deviations and weights.

        Args:
            normal: Scores of normal validation images by name.
            pseudo: Scores of pseudo-anomalies made of them.

        Raises:
            ValueError: If a part is missing, there is no image, or a score is not finite.
        """
        from sklearn.linear_model import LogisticRegression

        groups = [self._stack(scores).double().cpu() for scores in (normal, pseudo)]
        if not all(len(group) and group.isfinite().all() for group in groups):
            raise ValueError(
                "Expected finite scores of normal images and pseudo-anomalies "
                f"(got {len(groups[0])} and {len(groups[1])}, not all of them finite)"
            )
        if len(groups[0]) < _FEW:
            warnings.warn(
                f"Expected at least {_FEW} validation images to weigh scores by pseudo-anomalies "
                f"(got {len(groups[0])})",
                stacklevel=2,
            )
        mean = groups[0].mean(0)
        variances = [(group - mean).square().mean(0) for group in groups]
        std = scale_or_one(torch.stack(variances).mean(0).sqrt(), mean, "scores")
        x = ((torch.cat(groups) - mean) / std).numpy()
        y = np.repeat([0, 1], [len(group) for group in groups])
        kept = list(range(len(self.names)))
        weights = torch.zeros_like(mean)
        while kept:
            regression = LogisticRegression(C=self.regularization, class_weight="balanced")
            found = regression.fit(x[:, kept], y).coef_[0]
            if found.min() >= 0 and found.max() > 0:
                weights[kept] = torch.from_numpy(found)
                break
            del kept[int(found.argmin())]
        else:
            warnings.warn(
                "Expected a score that tells pseudo-anomalies from normal images (got none of "
                f"{', '.join(self.names)}): all weigh the same",
                stacklevel=2,
            )
            weights += 1
        self._store(mean=mean, std=std, weights=weights / weights.sum())

    def forward(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Adds the parts with their weights."""
        self._require_fit()
        standardized = (self._stack(scores) - self.mean) / self.std
        return standardized @ self.weights

    def as_dict(self) -> dict[str, float]:
        """Returns the weights by name."""
        self._require_fit()
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    def _stack(self, scores: Mapping[str, Tensor]) -> Tensor:
        missing = [name for name in self.names if name not in scores]
        if missing:
            raise ValueError(f"Expected scores named {', '.join(missing)} (got {list(scores)})")
        return torch.stack([scores[name] for name in self.names], dim=1)

    def extra_repr(self) -> str:
        """Shows the weights."""
        if not self.fitted:
            return f"{', '.join(self.names)}, not fitted"
        return ", ".join(f"{name}={weight:.2f}" for name, weight in self.as_dict().items())


def _change_one_place(
    image: Tensor, kind: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    height, width = image.shape[1:]
    rows = draw(round(height * _SMALLEST), int(height * _LARGEST))
    columns = draw(round(width * _SMALLEST), int(width * _LARGEST))

    def window(top: int, left: int) -> tuple[slice, slice, slice]:
        return slice(None), slice(top, top + rows), slice(left, left + columns)

    top, left = draw(0, height - rows), draw(0, width - columns)
    here = window(top, left)
    while True:  # a second patch beside the first; there is always room for it
        y, x = draw(0, height - rows), draw(0, width - columns)
        if abs(y - top) >= rows or abs(x - left) >= columns:
            break
    there = window(y, x)
    if kind == "swap":
        changes = [(here, image[there]), (there, image[here])]
    elif kind == "copy":
        changes = [(here, image[there])]
    elif kind == "mirror":
        changes = [(here, image[here].flip(draw(1, 2)))]
    else:
        changes = [(here, _surroundings(image, here))]
    share = _ramp(rows)[:, None] * _ramp(columns)
    changed, mask = image.clone(), torch.zeros_like(image[0], dtype=torch.bool)
    for place, patch in changes:
        changed[place] = torch.lerp(image[place], patch, share.to(image))
        mask[place[1:]] = True
    return changed, mask


def _surroundings(image: Tensor, place: tuple[slice, slice, slice]) -> Tensor:
    """Median colour ``[3, 1, 1]`` of a frame around a patch, a quarter of its sides wide."""
    _, rows, columns = place
    down, across = (max(1, (side.stop - side.start) // 4) for side in (rows, columns))
    frame = torch.zeros_like(image[0], dtype=torch.bool)
    frame[
        max(0, rows.start - down) : rows.stop + down,
        max(0, columns.start - across) : columns.stop + across,
    ] = True
    frame[rows, columns] = False
    return image[:, frame].median(1).values[:, None, None]


def _ramp(side: int) -> Tensor:
    """Shares of a patch along one of its sides ``[side]``: 1 inside, falling over an eighth at both ends."""
    distance = torch.arange(1, side + 1)
    return (torch.minimum(distance, distance.flip(0)) / max(1, side // 8)).clamp(max=1)
