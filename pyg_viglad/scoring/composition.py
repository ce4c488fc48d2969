"""The composition of an image, A_c: how many nodes and components it has of each kind."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.scoring.statistics import StatisticsOfImages, Whitening

__all__ = ["GraphComposition", "OddKind"]

_SAMPLE = 20_000  # nodes that are clustered
_FLOOR = 0.1  # added to standard deviations of square roots of numbers
# Nodes of one image are connected to their neighbours in row and column, never to another image's.
_GRID = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))])


class OddKind(NamedTuple):
    """What deviates most in the composition of an image.

    Attributes:
        text: The deviation in words.
        kind: Number of the kind.
        deviation: Standard deviations from the training images' mean; negative where there are too few.
        nodes: ``[rows, columns]`` bool: the kind's nodes; where there are too few, the places at which at
            least half of the training images, or else most of them, have the kind and the image does not.
    """

    text: str
    kind: int
    deviation: float
    nodes: Tensor


class GraphComposition(StatisticsOfImages):
    r"""Judges an image by how many nodes and connected components it has of each kind.

    .. math::
        A_c = \sqrt{(d - \mu)^T \Sigma^{-1} (d - \mu)}

    Window means of the teacher's features, whitened, are clustered by k-means; each node takes the kind of
    the nearest centre. The centres are then merged by Ward's method, and every union of kinds that arises
    is a kind too, but for the last, which has all nodes. Of each kind, :math:`d` has the square roots of
    the number of its nodes and of the number of its components (nodes adjoining in a row or column), each
    standardised; :math:`\mu` and :math:`\Sigma` (Ledoit-Wolf) are those of the training images,
    with a floor under every variance.

    No node is compared with its place, so that parts may lie anywhere. Parts need a kind of their own,
    which they do not have where they are smaller than a receptive field.

    Args:
        kinds: Number of clusters K, at least 2; with their unions there are 2K - 2 kinds (default: 16).
        window: Side of a node's window in cells of the teacher's map (default: 2).
        stride: Cells from one node to the next (default: 2).
        directions: Number of directions of the whitening, at most the channels (default: 64).
        least: Nodes that a component has at least in order to count (default: 2).
        seed: Seed of k-means (default: 0).

    Shapes:
        - **input:** normalised teacher features ``[B, C, H, W]``.
        - **output:** ``[B]``.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> composition = GraphComposition(kinds=3, window=1, stride=1)
        >>> composition.fit([torch.randn(20, 4, 6, 6, generator=torch.Generator().manual_seed(0))])
        >>> composition(torch.zeros(2, 4, 6, 6)).shape
        torch.Size([2])
    """

    shift: Tensor  # [C]
    projection: Tensor  # [C, directions]
    centers: Tensor  # [K, directions]
    members: Tensor  # [2K - 2, K], which clusters are in a kind
    mean: Tensor  # [2 (2K - 2)], of square roots
    std: Tensor
    precision: Tensor
    number: Tensor  # the same of the numbers themselves
    spread: Tensor
    places: Tensor  # [2K - 2, rows, columns], share of the training images with the kind there

    def __init__(
        self,
        kinds: int = 16,
        window: int = 2,
        stride: int = 2,
        directions: int = 64,
        least: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if kinds < 2:
            raise ValueError(f"Expected 'kinds' to be at least 2 (got {kinds})")
        if min(window, stride, directions, least) < 1:
            raise ValueError(
                "Expected 'window', 'stride', 'directions' and 'least' of at least 1 "
                f"(got {window}, {stride}, {directions} and {least})"
            )
        self.kinds = kinds
        self.window = window
        self.stride = stride
        self.directions = directions
        self.least = least
        self.seed = seed
        names = ("shift", "projection", "centers", "mean", "std", "number", "spread", "places")
        for name in (*names, "precision"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("members", torch.zeros(0, dtype=torch.bool))

    def fit(self, batches: list[Tensor]) -> None:
        """Finds the kinds and estimates the Gaussian on the training images' features ``[B, C, H, W]``.

        Raises:
            ValueError: If there are fewer than 2 images, or fewer nodes than kinds.
        """
        from scipy.cluster.hierarchy import linkage
        from sklearn.cluster import KMeans
        from sklearn.covariance import LedoitWolf
        from sklearn.exceptions import ConvergenceWarning

        images = sum(batch.size(0) for batch in batches)
        if images < 2:
            raise ValueError(f"Expected at least 2 training images (got {images})")
        pooled = [self._pool(batch.detach()) for batch in batches]
        channels = pooled[0].size(1)
        whitening = Whitening(channels, min(self.directions, channels)).to(pooled[0].device)
        whitening.fit(pooled)
        nodes = torch.cat([whitening(maps).permute(0, 2, 3, 1).flatten(0, 2) for maps in pooled])
        if len(nodes) < self.kinds:
            raise ValueError(f"Expected at least {self.kinds} nodes (got {len(nodes)})")
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(len(nodes), generator=generator)[:_SAMPLE].to(nodes.device)
        with warnings.catch_warnings():  # fewer distinct nodes than kinds: some kinds stay empty
            warnings.simplefilter("ignore", ConvergenceWarning)
            clusters = KMeans(self.kinds, n_init=1, max_iter=50, random_state=self.seed)
            clusters.fit(nodes[drawn].double().cpu().numpy())
        centers = torch.from_numpy(clusters.cluster_centers_)
        members = [*torch.eye(self.kinds, dtype=torch.bool)]
        for first, second in linkage(centers.numpy(), "ward")[:-1, :2].astype(int):
            members.append(members[first] | members[second])
        self._store(
            shift=whitening.mean,
            projection=(whitening.projection / whitening.std).T,
            centers=centers,
            members=torch.stack(members),
        )
        masks = torch.cat([self._masks(batch) for batch in batches])
        numbers = self._numbers(masks)
        roots = numbers.sqrt()
        self._store(
            mean=roots.mean(0),
            std=(roots.var(0, correction=0) + _FLOOR**2).sqrt(),
            number=numbers.mean(0),
            spread=numbers.std(0, correction=0),
            places=masks.float().mean(0),
        )
        fit = LedoitWolf(assume_centered=True)
        fit.fit(self._deviations(numbers).double().cpu().numpy())
        # Numbers that are equal in all training images have no variance but the floor.
        floor = (_FLOOR / self.std).square().double().cpu().diag()
        self._store(precision=torch.linalg.inv(torch.from_numpy(fit.covariance_) + floor))

    def forward(self, features: Tensor) -> Tensor:
        """Computes the distance of each image's composition."""
        deviations = self._deviations(self.describe(features))
        return ((deviations @ self.precision) * deviations).sum(-1).clamp(min=0).sqrt()

    def describe(self, features: Tensor) -> Tensor:
        """Counts nodes, then components, of each kind: ``[B, 2 (2K - 2)]``."""
        return self._numbers(self._masks(features))

    def explain(self, features: Tensor) -> list[OddKind]:
        """Returns for each image the kind whose number of nodes or components deviates most."""
        masks = self._masks(features)
        numbers = self._numbers(masks)
        deviations = self._deviations(numbers)
        found = []
        for image, entry in enumerate(deviations.abs().argmax(1).tolist()):
            part, kind = divmod(entry, masks.size(1))
            deviation = float(deviations[image, entry])
            nodes = masks[image, kind]
            if deviation < 0:
                missing = self.places[kind].masked_fill(nodes, 0)
                nodes = missing >= missing.max().clamp(min=1e-6, max=0.5)
            count, unit = round(float(numbers[image, entry])), ("node", "component")[part]
            text = (
                f"{count} {unit}{'s' if count != 1 else ''} of kind {kind} where training images "
                f"have {float(self.number[entry]):.1f} ± {float(self.spread[entry]):.1f}"
            )
            found.append(OddKind(text, kind, deviation, nodes))
        return found

    def _pool(self, features: Tensor) -> Tensor:
        window = (min(self.window, features.size(2)), min(self.window, features.size(3)))
        return F.avg_pool2d(features.float(), window, self.stride)

    def _masks(self, features: Tensor) -> Tensor:
        """Which nodes are of which kind, ``[B, 2K - 2, rows, columns]`` bool."""
        self._require_fit()
        nodes = self._pool(features).permute(0, 2, 3, 1)
        z = (nodes - self.shift) @ self.projection
        # In float64 and without products, for ties to be decided alike in any batch.
        distances = torch.stack([(z - center).double().square().sum(-1) for center in self.centers])
        return self.members[:, distances.argmin(0)].transpose(0, 1)

    def _numbers(self, masks: Tensor) -> Tensor:
        """Numbers of nodes and of components, ``[B, 2 (2K - 2)]``."""
        from scipy import ndimage

        images, kinds, rows, columns = masks.shape
        stack = masks.flatten(0, 1).cpu().numpy()
        labels, number = ndimage.label(stack, _GRID)
        sizes = np.bincount(labels.ravel(), minlength=number + 1)[1:]
        owners = np.zeros(number + 1, dtype=np.int64)
        owners[labels.ravel()] = np.repeat(np.arange(len(stack)), rows * columns)
        counts = np.bincount(owners[1:][sizes >= self.least], minlength=len(stack))
        components = torch.from_numpy(counts).to(masks.device).view(images, kinds)
        return torch.cat([masks.sum((2, 3)), components], dim=1).float()

    def _deviations(self, numbers: Tensor) -> Tensor:
        return (numbers.sqrt() - self.mean) / self.std

    def extra_repr(self) -> str:
        """Shows kinds, window, stride, directions and the least component."""
        return (
            f"kinds={self.kinds}, window={self.window}, stride={self.stride}, "
            f"directions={self.directions}, least={self.least}"
        )
