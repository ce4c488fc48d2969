"""Scores of single nodes, A_n: an option beyond the paper, never part of its score."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.scoring.shards import ALONE, Shards
from pyg_viglad.scoring.statistics import StatisticsOfImages, ledoit_wolf, scale_or_one

__all__ = ["NodeGaussian", "NodeNeighbors", "NodeScorer", "NodeScorerName", "make_node_scorer"]

NodeScorerName = Literal["gaussian", "neighbors"]

_TILE = 2**22  # distances held in memory at once
_SAMPLE = 20_000  # vectors from which a covariance is estimated
_FEW = 20  # images from which an estimate of one node and that of all nodes count alike


class NodeScorer(StatisticsOfImages):
    """Base class of scorers of nodes, which lie on a grid over the teacher's feature map.

    Node (r, c) covers the cells from ``stride * r`` and ``stride * c`` on, ``window`` in each direction.
    :meth:`fit` learns from training images, :meth:`calibrate` then sets the scale on validation images.

    Attributes:
        window: Side of a node's window in cells of the teacher's map.
        stride: Cells from one node to the next.
        mirrored: Whether :meth:`fit` needs mirror images of the training images too.
    """

    window: int
    stride: int
    mirrored: bool = False

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the rows and columns of nodes on a teacher map of ``height x width`` cells."""
        rows = (height - min(self.window, height)) // self.stride + 1
        columns = (width - min(self.window, width)) // self.stride + 1
        return rows, columns

    def fit(
        self,
        batches: list[Tensor],
        mirrors: Sequence[list[Tensor]] = (),
        shards: Shards = ALONE,
    ) -> None:
        """Learns from normalised teacher features ``[B, C, H, W]`` of the training images.

        Args:
            batches: Features of the training images, in several processes those of this one's.
            mirrors: Where ``mirrored`` is set, features of the mirrored images, one such list per axis.
            shards: The processes among which the images are dealt.

        Raises:
            ValueError: If there are fewer than 2 images, or ``mirrors`` are missing or not needed.
        """
        raise NotImplementedError

    def calibrate(self, batches: list[Tensor], shards: Shards = ALONE) -> None:
        """Estimates mean and standard deviation of scores on validation features ``[B, C, H, W]``."""
        raise NotImplementedError

    def _count_images(
        self, batches: list[Tensor], mirrors: Sequence[list[Tensor]], shards: Shards
    ) -> int:
        images = int(shards.sum(sum(batch.size(0) for batch in batches)))
        if images < 2:
            raise ValueError(f"Expected at least 2 training images (got {images})")
        if self.mirrored != bool(mirrors):
            raise ValueError(
                f"Expected 'mirrors' where 'mirrored' is set and only there (got {len(mirrors)} lists)"
            )
        return images


class NodeGaussian(NodeScorer):
    r"""Computes Eq. 18 for every node: a Mahalanobis distance under a Gaussian per node.

    .. math::
        A_n(i) = \sqrt{(f_i - \mu_i)^T \Sigma_i^{-1} (f_i - \mu_i)}, \qquad A_n = \max_i A_n(i)

    :math:`f_i` is the mean of the teacher's features over a small window around node :math:`i`;
    :math:`\mu_i` and :math:`\Sigma_i` are taken over the n training images at the same position.
    :meth:`calibrate` then standardises each node's distances over m validation images, so that varying
    positions do not hide steady ones. It suits images whose parts have fixed positions.

    Estimates of one node from few images are mostly noise: the fewer images, the larger the share of the
    estimate from all nodes. With :math:`w(n) = n^2 / (n^2 + 20^2)`, the Ledoit-Wolf estimates
    :math:`\hat\Sigma_i` of the node and :math:`\hat\Sigma` of all nodes around their means, and mean
    :math:`m_i` and variance :math:`v_i` of the node's validation distances,

    .. math::
        \Sigma_i &= w(n) \hat\Sigma_i + (1 - w(n)) \hat\Sigma \\
        \sigma_i^2 &= w(m) v_i + (1 - w(m)) \bar v \\
        c_i &= \bar m + \frac{\tau^2}{\tau^2 + \varepsilon} (m_i - \bar m), \quad
        \varepsilon = \frac{\bar v}{m - 1}, \quad \tau^2 = \max(0, \mathrm{Var}_i(m_i) - \varepsilon)

    where :math:`c_i` (empirical Bayes, for normal means) and :math:`\sigma_i` standardise the distances. A
    single validation image has no :math:`\bar v`: all nodes then share the mean and the standard deviation
    of its distances. The 20 is chosen by measurement.

    Args:
        window: Side of the window in cells of the teacher's map (default: 4).
        stride: Cells from one node to the next (default: 2).
        channels: Number of channels used, drawn at random; bounds the model's size (default: 100).
        seed: Seed of the draw (default: 0).

    Shapes:
        - **input:** teacher features ``[B, C, H, W]``.
        - **output:** ``[B, rows, columns]``, see :meth:`grid_size`: standard deviations above the mean
          distance of the validation images, or distances before :meth:`calibrate`.

    Raises:
        ValueError: If an argument is below 1.

    Example:
        >>> import torch
        >>> scorer = NodeGaussian(window=2, stride=2, channels=3)
        >>> scorer.fit([torch.randn(50, 8, 4, 4, generator=torch.Generator().manual_seed(0))])
        >>> scorer(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 2, 2])
    """

    selected: Tensor
    mean: Tensor
    precision: Tensor
    center: Tensor
    scale: Tensor

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
        self.register_buffer("selected", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("precision", torch.zeros(0))
        self.register_buffer("center", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def fit(
        self,
        batches: list[Tensor],
        mirrors: Sequence[list[Tensor]] = (),
        shards: Shards = ALONE,
    ) -> None:
        """Estimates the Gaussians, see :meth:`NodeScorer.fit`; needs no mirror images."""
        number = self._count_images(batches, mirrors, shards)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(batches[0].size(1), generator=generator)
        self.selected = order[: self.channels].sort().values.to(self.selected)
        vectors = torch.cat([self._vectors(batch.detach()) for batch in batches])
        _, rows, columns, channels = vectors.shape
        by_image = vectors.double().flatten(1, 2).cpu()
        mean = shards.mean(by_image)
        by_node = (by_image - mean).transpose(0, 1)
        scatter = shards.sum(by_node.mT @ by_node)
        fourth = shards.sum(by_node.square().sum(2).square().sum(1))
        pooled = ledoit_wolf(scatter.sum(0), fourth.sum(), number * len(by_node))
        covariance = torch.lerp(pooled, ledoit_wolf(scatter, fourth, number), _own_share(number))
        precision = torch.linalg.pinv(covariance, hermitian=True)
        self._store(
            mean=mean.view(rows, columns, channels),
            precision=precision.view(rows, columns, channels, channels),
        )

    def calibrate(self, batches: list[Tensor], shards: Shards = ALONE) -> None:
        """Estimates mean and standard deviation of every node's distances on validation features."""
        distances = torch.cat([self._distances(batch) for batch in batches]).double()
        number = int(shards.sum(len(distances)))
        mean = shards.mean(distances)
        variance = shards.mean((distances - mean).square())
        pooled, center = variance.mean(), mean.mean()
        between = mean.var(correction=0)
        if pooled > (1e-3 * center).square():
            error = pooled / (number - 1)  # of a node's mean
            excess = (between - error).clamp(min=0)
            center = center + excess / (excess + error) * (mean - center)
            variance = torch.lerp(pooled, variance, _own_share(number))
        else:  # one image, or copies of it
            center, variance = center.expand_as(mean), between.expand_as(mean)
        scale = scale_or_one(variance.sqrt(), center.clamp(min=0.1), "node scores")
        self._store(center=center, scale=scale)

    def forward(self, features: Tensor) -> Tensor:
        """Computes every node's score."""
        return (self._distances(features) - self.center) / self.scale

    def _vectors(self, features: Tensor) -> Tensor:
        """Window means ``[B, rows, columns, channels]``."""
        window = (min(self.window, features.size(2)), min(self.window, features.size(3)))
        selected = features[:, self.selected].to(self.mean)
        pooled = F.avg_pool2d(selected, window, self.stride)
        return pooled.permute(0, 2, 3, 1)

    def _distances(self, features: Tensor) -> Tensor:
        self._require_fit()
        centered = self._vectors(features) - self.mean
        squared = torch.einsum("brci,rcij,brcj->brc", centered, self.precision, centered)
        return squared.clamp(min=0).sqrt()

    def extra_repr(self) -> str:
        """Shows window, stride and channels."""
        return f"window={self.window}, stride={self.stride}, channels={self.channels}"


class NodeNeighbors(NodeScorer):
    r"""Compares a node's nearest training nodes at its own position with those elsewhere.

    .. math::
        A_n(i) = \frac{1}{k} \sum_{j \in \mathcal{N}_k^{here}(i)} \|z_i - z_j\|^2
        - \frac{1}{k} \sum_{j \in \mathcal{N}_k^{elsewhere}(i)} \|z_i - z_j\|^2, \qquad A_n = \max_i A_n(i)

    :math:`\mathcal{N}_k^{here}(i)` are the nearest training nodes at the position of :math:`i`,
    :math:`\mathcal{N}_k^{elsewhere}(i)` the nearest ones whose windows do not touch that of :math:`i`.
    Patches that are normal only elsewhere score high; rare patches, far from everything, do not.
    :math:`z` are the teacher's window means in the linear discriminant directions that separate the
    positions, whitened within positions. Each window size is standardised over validation images; the
    sizes are then added. It suits images whose parts have fixed positions.

    With ``mirrored`` the training images' mirror images (left-right and upside down) count as elsewhere
    and enter the directions as classes of their own. This finds many more mirrored parts; leave it off
    where normal parts may be mirrored.

    Args:
        windows: Sides of the windows in cells, ascending by even steps (default: 2, 4, 6).
        stride: Cells from one node to the next (default: 2).
        dimensions: Number of discriminant directions, lowered to what the data allow (default: 64).
        k: Number of neighbours (default: 3).
        elsewhere: Number of training nodes kept to compare with, drawn at random (default: 9000).
        seed: Seed of the draw (default: 0).
        mirrored: Whether mirror images count as elsewhere (default: False).
        shrinkage: Share of the largest variance within positions that is added to all of them before
            whitening, beside Ledoit and Wolf's (default: 0.003).

    Shapes:
        - **input:** teacher features ``[B, C, H, W]``.
        - **output:** ``[B, rows, columns]``: sums over window sizes of standard deviations above the mean
          of the validation images' maxima, or of plain scores before :meth:`calibrate`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> scorer = NodeNeighbors(windows=(1, 3), dimensions=4)
        >>> scorer.fit([torch.randn(9, 8, 6, 6, generator=torch.Generator().manual_seed(0))])
        >>> scorer(torch.zeros(2, 8, 6, 6)).shape
        torch.Size([2, 3, 3])
    """

    projection: Tensor  # [windows, C, dimensions]
    shift: Tensor  # [windows, C]
    here: Tensor  # [windows, images, nodes, dimensions]
    drawn: Tensor  # [elsewhere], image * nodes + node
    reflections: Tensor  # [windows, elsewhere, dimensions], of mirror images
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        windows: Sequence[int] = (2, 4, 6),
        stride: int = 2,
        dimensions: int = 64,
        k: int = 3,
        elsewhere: int = 9000,
        seed: int = 0,
        mirrored: bool = False,
        shrinkage: float = 0.003,
    ) -> None:
        super().__init__()
        steps = [larger - smaller for smaller, larger in pairwise(windows)]
        if not windows or windows[0] < 1 or any(step < 2 or step % 2 for step in steps):
            raise ValueError(
                f"Expected 'windows' of at least 1, ascending by even steps (got {tuple(windows)})"
            )
        if min(stride, dimensions, k, elsewhere) < 1:
            raise ValueError(
                "Expected 'stride', 'dimensions', 'k' and 'elsewhere' of at least 1 "
                f"(got {stride}, {dimensions}, {k} and {elsewhere})"
            )
        if shrinkage < 0:
            raise ValueError(f"Expected 'shrinkage' of at least 0 (got {shrinkage})")
        self.windows = tuple(windows)
        self.window = self.windows[0]  # the larger windows have the same centres
        self.stride = stride
        self.dimensions = dimensions
        self.k = k
        self.elsewhere = elsewhere
        self.seed = seed
        self.mirrored = mirrored
        self.shrinkage = shrinkage
        for name in ("projection", "shift", "here", "reflections"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("drawn", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("center", torch.zeros(len(self.windows)))
        self.register_buffer("scale", torch.ones(len(self.windows)))

    def fit(
        self,
        batches: list[Tensor],
        mirrors: Sequence[list[Tensor]] = (),
        shards: Shards = ALONE,
    ) -> None:
        """Keeps the training images' nodes, see :meth:`NodeScorer.fit`."""
        number = self._count_images(batches, mirrors, shards)
        projections, shifts, here, reflections = [], [], [], []
        for window in self.windows:
            views = [
                torch.cat([self._vectors(batch.detach(), window) for batch in view])
                for view in (batches, *mirrors)
            ]
            shift, projection = _discriminants(
                views, number, self.dimensions, self.shrinkage, self.seed, shards
            )
            z, *mirrored = (shards.gather((view - shift) @ projection) for view in views)
            projections.append(projection)
            shifts.append(shift)
            here.append(z)
            if mirrored:
                others = torch.cat(mirrored).flatten(0, 1)
                reflections.append(others[self._draw(len(others))])
        self._store(
            projection=torch.stack(projections),
            shift=torch.stack(shifts),
            here=torch.stack(here),
            drawn=self._draw(here[0].size(0) * here[0].size(1)),
            reflections=torch.stack(reflections) if reflections else torch.zeros(0),
        )

    def calibrate(self, batches: list[Tensor], shards: Shards = ALONE) -> None:
        """Estimates mean and standard deviation of every window size's maxima on validation features."""
        scores = torch.cat([self._scores(batch) for batch in batches]).double()
        maxima = shards.gather(scores.amax(2))
        center, scale = maxima.mean(0), maxima.std(0, correction=0)
        # Of one image, or copies of it, the spread of the nodes' scores is all there is.
        nodes = scores.transpose(1, 2).flatten(0, 1)
        spread = shards.mean((nodes - shards.mean(nodes)).square()).sqrt()
        scale = torch.where(scale > 1e-3 * spread, scale, spread)
        largest = shards.gather(scores.abs().amax(2)).amax(0)
        scale = scale_or_one(scale, largest.clamp(min=0.1), "node scores")
        self._store(center=center, scale=scale)

    def forward(self, features: Tensor) -> Tensor:
        """Computes every node's score."""
        scores = (self._scores(features) - self.center[:, None]) / self.scale[:, None]
        return scores.sum(1).view(-1, *self.grid_size(*features.shape[2:]))

    def _draw(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(number, generator=generator)[: self.elsewhere]

    def _vectors(self, features: Tensor, window: int) -> Tensor:
        """Window means ``[B, nodes, C]``, at the border of what lies within the map."""
        padding = (window - self.window) // 2
        size = [min(window, side + 2 * padding) for side in features.shape[2:]]
        features = features.to(self.center)
        pooled = F.avg_pool2d(features, size, self.stride, padding, count_include_pad=False)
        return pooled.flatten(2).transpose(1, 2)

    def _scores(self, features: Tensor) -> Tensor:
        """Scores of every window size, ``[B, windows, nodes]``."""
        self._require_fit()
        rows, columns = self.grid_size(*features.shape[2:])
        sides = (torch.arange(side, device=self.drawn.device) for side in (rows, columns))
        grid = torch.cartesian_prod(*sides)
        places = grid[self.drawn % (rows * columns)]
        distance = (grid[:, None] - places[None]).abs().amax(2) * self.stride
        found = []
        for number, window in enumerate(self.windows):
            z = (self._vectors(features, window) - self.shift[number]) @ self.projection[number]
            by_place = _squared_distances(z.transpose(0, 1), self.here[number].transpose(0, 1))
            here = by_place.transpose(0, 1)
            # On small grids where some node touches all others, only the node itself is excluded.
            far = (distance >= window).any(1).all()
            excluded = distance < torch.where(far, window, 1)
            others = self.here[number].flatten(0, 1)[self.drawn]
            if self.reflections.numel():
                others = torch.cat([others, self.reflections[number]])
                excluded = F.pad(excluded, (0, self.reflections.size(1)))  # never excluded
            step = max(1, _TILE // excluded.numel())
            parts = (z,) if torch.compiler.is_exporting() else z.split(step)
            elsewhere = [
                self._nearest(_squared_distances(part, others).masked_fill(excluded, torch.inf))
                for part in parts
            ]
            found.append(self._nearest(here) - torch.cat(elsewhere))
        return torch.stack(found, dim=1)

    def _nearest(self, distances: Tensor) -> Tensor:
        """Mean of the k smallest squared distances of the last axis, ignoring those set to infinity."""
        k = min(self.k, distances.size(-1))
        smallest = distances.topk(k, dim=-1, largest=False).values
        finite = smallest != torch.inf  # NaN stays
        return smallest.masked_fill(~finite, 0).sum(-1) / finite.sum(-1).clamp(min=1)

    def extra_repr(self) -> str:
        """Shows windows, stride, dimensions, k and mirrored."""
        mirrored = ", mirrored=True" if self.mirrored else ""
        return f"{self.windows}, stride={self.stride}, dimensions={self.dimensions}, k={self.k}{mirrored}"


def make_node_scorer(node_scorer: str | dict[str, Any] | None) -> NodeScorer | None:
    """Builds a scorer of nodes from its name or arguments.

    Args:
        node_scorer: None for no scorer, ``"gaussian"`` for a :class:`NodeGaussian`, ``"neighbors"`` for a
            :class:`NodeNeighbors`, or a dictionary of arguments with one of these names as ``type``
            (default: ``"gaussian"``).

    Raises:
        ValueError: If the name or an argument is unknown.

    Example:
        >>> make_node_scorer({"type": "neighbors", "k": 5})
        NodeNeighbors((2, 4, 6), stride=2, dimensions=64, k=5)
    """
    if node_scorer is None:
        return None
    options = dict(node_scorer) if isinstance(node_scorer, dict) else {"type": node_scorer}
    name = options.pop("type", "gaussian")
    types: dict[Any, type[NodeScorer]] = {"gaussian": NodeGaussian, "neighbors": NodeNeighbors}
    if name not in types:
        raise ValueError(f"Expected 'node_scorer' to be 'gaussian' or 'neighbors' (got {name!r})")
    try:
        return types[name](**options)
    except TypeError as error:
        raise ValueError(
            f"Expected 'node_scorer' with the options of '{name}' ({error})"
        ) from error


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances ``[..., N, M]`` of vectors ``[..., N, D]`` and ``[..., M, D]`` about the origin."""
    norms = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2)
    return (norms - 2 * (x @ y.transpose(-1, -2))).clamp(min=0)


def _own_share(images: int) -> float:
    """Share of a node's own estimate from so many images, beside that of all nodes."""
    return images**2 / (images**2 + _FEW**2)


def _discriminants(
    views: Sequence[Tensor],
    images: int,
    dimensions: int,
    shrinkage: float,
    seed: int = 0,
    shards: Shards = ALONE,
) -> tuple[Tensor, Tensor]:
    """Linear discriminant analysis: mean ``[C]`` and directions ``[C, dimensions]``.

    A class is a position in a view, its members are the images; a view holds vectors ``[images, positions,
    C]``. The covariance within classes is shrunk (Ledoit-Wolf) once for all classes, from a sample:
    scikit-learn's LinearDiscriminantAnalysis shrinks every class of a few images by itself.
    """
    means = [shards.mean(view) for view in views]
    generator = torch.Generator().manual_seed(seed)
    sample, number = [], 0
    for view, mean in zip(views, means, strict=True):
        positions = view.size(1)
        chosen = torch.randperm(images * positions, generator=generator)[: _SAMPLE // len(views)]
        number += len(chosen)
        image, position = chosen // positions, chosen % positions
        own = image % shards.size == shards.rank
        drawn = view[image[own] // shards.size, position[own]] - mean[position[own]]
        sample.append(drawn.double().cpu())
    within = torch.cat(sample)
    fourth = shards.sum(within.square().sum(1).square().sum())
    covariance = ledoit_wolf(shards.sum(within.T @ within), fourth, number)
    values, axes = torch.linalg.eigh(covariance)
    # Ledoit-Wolf takes nodes as independent, but those of an image are alike: it shrinks too little.
    whiten = axes * (values.clamp(min=1e-6) + shrinkage * values.max()).rsqrt()
    class_means = torch.cat(means)
    shift = class_means.mean(0)
    between = (class_means - shift).double().cpu() @ whiten
    _, _, directions = torch.linalg.svd(between, full_matrices=False)
    projection = whiten @ directions[:dimensions].T
    return shift, projection.to(views[0])
