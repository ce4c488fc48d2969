"""Nearest neighbours of every node in the training images: another score A_n, beyond the paper."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.scoring._discriminants import discriminants
from pyg_viglad.scoring._node_grid import NodeGrid

__all__ = ["NodeNeighbors"]

_TILE = 2**22  # distances held at once


class NodeNeighbors(NodeGrid):
    r"""Does a node look like the training images' nodes in its place, or like those elsewhere?

    .. math::
        A_n(i) = \frac{1}{k} \sum_{j \in \mathcal{N}_k^{here}(i)} \|z_i - z_j\|^2
        - \frac{1}{k} \sum_{j \in \mathcal{N}_k^{elsewhere}(i)} \|z_i - z_j\|^2, \qquad A_n = \max_i A_n(i)

    :math:`\mathcal{N}_k^{here}(i)` are the nearest of the training images' nodes at the very place of
    :math:`i`, :math:`\mathcal{N}_k^{elsewhere}(i)` the nearest of those whose windows do not touch
    that of :math:`i`. So a part that is in order somewhere else counts as odd here, and one that is
    merely rare, and far from everything, does not. :math:`z` are the teacher's features, averaged over
    a window, in the linear discriminant directions that tell the places apart, whitened within places.
    Several windows are standardised over validation images and added. The paper has no such score; it
    stands where :class:`NodeGaussian` may stand, and suits images whose parts have their places.

    With ``mirrored`` the training images' mirror images, left to right and upside down, are elsewhere
    too, and are told apart from the images themselves by the directions. That says beforehand that a
    mirrored part is an anomaly, and finds far more of those; where parts may be mirrored, leave it off.

    Args:
        windows: Sides of the windows, in cells of the teacher's map, ascending by even steps.
        stride: Cells from one node to the next.
        dimensions: Number of discriminant directions; lowered to what the data allow.
        k: Number of neighbours.
        elsewhere: How many training nodes are kept to compare with, drawn at random with ``seed``.
        seed: Seed of the draw.
        mirrored: Whether what is mirrored counts as elsewhere.

    Shapes:
        - **input:** teacher features ``[B, C, H, W]``.
        - **output:** ``[B, rows, columns]``: sums over windows of standard deviations above the mean
          of the validation images' maxima, or of plain scores before :meth:`calibrate`.

    Raises:
        ValueError: If an argument is out of range, or fewer than 2 images are given to :meth:`fit`, or
            their mirror images are missing where they are needed.

    Example:
        >>> import torch
        >>> nodes = NodeNeighbors(windows=(1, 3), dimensions=4)
        >>> nodes.fit([torch.randn(9, 8, 6, 6, generator=torch.Generator().manual_seed(0))])
        >>> nodes(torch.zeros(2, 8, 6, 6)).shape
        torch.Size([2, 3, 3])
    """

    projection: Tensor
    shift: Tensor
    here: Tensor
    drawn: Tensor
    reflections: Tensor
    centre: Tensor
    scale: Tensor
    _estimates = ("projection", "shift", "here", "drawn")
    _options = ("reflections", "centre", "scale")

    def __init__(
        self,
        windows: Sequence[int] = (2, 4, 6),
        stride: int = 2,
        dimensions: int = 64,
        k: int = 3,
        elsewhere: int = 9000,
        seed: int = 0,
        mirrored: bool = False,
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
        self.windows = tuple(windows)
        self.window = self.windows[0]  # its centres are the nodes' places
        self.stride = stride
        self.dimensions = dimensions
        self.k = k
        self.elsewhere = elsewhere
        self.seed = seed
        self.mirrored = mirrored

    def _describe(self, features: Tensor, window: int) -> Tensor:
        """Give node vectors ``[B, nodes, C]``; at the border a window is what lies within the map."""
        padding = (window - self.window) // 2
        size = [min(window, side + 2 * padding) for side in features.shape[2:]]
        pooled = F.avg_pool2d(features.float(), size, self.stride, padding, count_include_pad=False)
        return pooled.flatten(2).transpose(1, 2)

    def fit(self, batches: list[Tensor], mirrors: Sequence[list[Tensor]] = ()) -> None:
        """Keep what the training images' nodes look like.

        Args:
            batches: Normalised features ``[B, C, H, W]`` of the training images.
            mirrors: With ``mirrored``, such lists of the same images mirrored, one for each way.
        """
        images = self._count(batches, mirrors)
        rows, columns = self.grid_size(*batches[0].shape[2:])
        drawn = self._draw(images * rows * columns)
        reflected = self._draw(len(mirrors) * images * rows * columns)
        kept: dict[str, list[Tensor]] = {"projection": [], "shift": [], "here": []}
        if mirrors:
            kept["reflections"] = []
        for window in self.windows:
            views = [
                torch.cat([self._describe(batch.detach(), window) for batch in view])
                for view in (batches, *mirrors)
            ]
            shift, projection = discriminants(views, self.dimensions, self.seed)
            here, *others = ((view - shift) @ projection for view in views)
            found = [projection, shift, here]
            if others:
                found.append(torch.cat(others).flatten(0, 1)[reflected])
            for name, value in zip(kept, found, strict=True):
                kept[name].append(value)
        self._store(drawn=drawn, **{name: torch.stack(values) for name, values in kept.items()})

    def _draw(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(number, generator=generator)[: self.elsewhere]

    def calibrate(self, batches: list[Tensor]) -> None:
        """Standardise every window's scores by the maxima over validation features ``[B, C, H, W]``."""
        maxima = torch.cat([self._scores(batch).amax(2) for batch in batches])
        std = maxima.std(0, correction=0)
        self._store(centre=maxima.mean(0), scale=std.clamp(min=1e-6))

    def _scores(self, features: Tensor) -> Tensor:
        """Give every window's scores ``[B, windows, nodes]``."""
        self._require_fit()
        rows, columns = self.grid_size(*features.shape[2:])
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(self.drawn)
        places = grid[self.drawn % (rows * columns)]
        apart = (grid[:, None] - places[None]).abs().amax(2) * self.stride
        found = []
        for number, window in enumerate(self.windows):
            z = (self._describe(features, window) - self.shift[number]) @ self.projection[number]
            here = torch.cdist(z.transpose(0, 1), self.here[number].transpose(0, 1)).transpose(0, 1)
            # Where all nodes are near each other, none is elsewhere.
            touching = apart < window if bool((apart >= window).any(1).all()) else apart < 1
            others = self.here[number].flatten(0, 1)[self.drawn]
            if self.reflections.numel():
                others = torch.cat([others, self.reflections[number]])
                touching = F.pad(touching, (0, self.reflections.size(1)))  # they have no place
            step = max(1, _TILE // touching.numel())
            elsewhere = [
                self._nearest(torch.cdist(part, others).masked_fill(touching, torch.inf))
                for part in z.split(step)
            ]
            found.append(self._nearest(here) - torch.cat(elsewhere))
        return torch.stack(found, dim=1)

    def _nearest(self, distances: Tensor) -> Tensor:
        """Average the k smallest squared distances of the last axis, as many of them as there are."""
        k = min(self.k, distances.size(-1))
        smallest = distances.topk(k, dim=-1, largest=False).values.square()
        finite = smallest.isfinite()
        return smallest.masked_fill(~finite, 0).sum(-1) / finite.sum(-1).clamp(min=1)

    def forward(self, features: Tensor) -> Tensor:
        """Give every node's score."""
        scores = self._scores(features)
        if self.scale.numel():
            scores = (scores - self.centre[:, None]) / self.scale[:, None]
        return scores.sum(1).view(-1, *self.grid_size(*features.shape[2:]))

    def extra_repr(self) -> str:
        """Show windows, stride, dimensions, k and what else is on."""
        mirrored = ", mirrored=True" if self.mirrored else ""
        return f"{self.windows}, stride={self.stride}, dimensions={self.dimensions}, k={self.k}{mirrored}"
