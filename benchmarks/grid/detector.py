"""What every detector that is compared can do."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

__all__ = ["Detector", "Scores"]


class Scores(NamedTuple):
    """What a detector says of B images.

    Attributes:
        images: Scores ``[B]`` by name, higher for more anomalous; the first one is the detector's own.
        maps: ``[B, H, W]``, one value a pixel of the images as the detector was given them, or None.
    """

    images: dict[str, Tensor]
    maps: Tensor | None


class Detector(Protocol):
    """A detector behind the interface of the benchmark.

    It is made with the images' size, a seed and a device, learns from normal images alone, and then
    scores images. Data sets are PyG's, with ``img`` ``[1, 3, H, W]`` in [0, 1] in every item.
    """

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Learn from normal images.

        Args:
            train: The training images.
            validation: Normal images held out of training, for calibration.
            folder: Where checkpoints and other work may lie; what an interrupted ``fit`` left there
                may be used.

        Returns:
            Facts for the record, such as the number of steps.
        """
        ...

    def predict(self, dataset: Any) -> Scores:
        """Score every image of a data set, in its order, after :meth:`fit`."""
        ...
