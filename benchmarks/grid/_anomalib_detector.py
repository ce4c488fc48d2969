"""What the detectors of anomalib share."""

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.grid._loops import in_order, resize
from benchmarks.grid.detector import Scores

__all__ = ["AnomalibDetector", "anomalib_module"]


def anomalib_module(name: str) -> Any:
    """Import a module of anomalib's image models.

    Raises:
        ValueError: If anomalib is not installed.
    """
    try:
        return import_module(f"anomalib.models.image.{name}")
    except ImportError as error:
        raise ValueError(
            "Expected the extra 'benchmarks' for this model: pip install 'pyg-viglad[benchmarks]' "
            f"(got: {error})"
        ) from error


class AnomalibDetector:
    """One of anomalib's torch models, in a plain loop over our data sets.

    Anomalib's Engine and data modules are left out: they would read the images, resize them and split
    them anew, and stop by labelled validation images. The networks, the fitting, the maps and the scores
    are anomalib's.

    Args:
        image_size: Height and width of the images.
        seed: Seed of everything that is drawn.
        device: A torch device.
        input_size: Side, or height and width, to which images are resized for the model; by default
            they stay as they are. Maps always come back at the size of the images.
        batch_size: Images of a batch of statistics and of prediction.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        seed: int,
        device: str,
        input_size: int | list[int] | None,
        batch_size: int,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"Expected 'batch_size' of at least 1 (got {batch_size})")
        height, width = image_size
        if input_size is not None:
            sides = [input_size] * 2 if isinstance(input_size, int) else list(input_size)
            if len(sides) != 2 or min(sides) < 32:
                raise ValueError(
                    f"Expected 'input_size' as a side or [height, width] from 32 on (got {input_size})"
                )
            height, width = sides
        self.image_size = image_size
        self.input_size = (height, width)
        self.seed = seed
        self.device = device
        self.batch_size = batch_size
        self.model: Any = None

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Learn from normal images; nothing is written."""
        random.seed(self.seed)
        torch.manual_seed(self.seed)
        self.model = self._build().to(self.device)
        facts = self._fit(train, validation)
        self.model.eval()
        return facts

    @torch.no_grad()
    def predict(self, dataset: Any) -> Scores:
        """Score every image by anomalib's own score and map."""
        if self.model is None:
            raise ValueError("Expected fit() before predict() (got a detector without it)")
        scores, maps = [], []
        for images in in_order(dataset, self.batch_size, self.device):
            output = self.model(self._prepare(images))
            scores.append(output.pred_score.detach().reshape(len(images)).float().cpu())
            placed = resize(output.anomaly_map.detach().float(), (images.size(2), images.size(3)))
            maps.append(placed[:, 0].cpu())
        return Scores({"score": torch.cat(scores)}, torch.cat(maps))

    def _prepare(self, images: Tensor) -> Tensor:
        return resize(images, self.input_size)

    def _embed(self, train: Any) -> int:
        """Show all training images to a model that collects their features."""
        self.model.train()
        number = 0
        for images in in_order(train, self.batch_size, self.device):
            self.model(self._prepare(images))
            number += len(images)
        return number

    def _build(self) -> Any:
        raise NotImplementedError

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        raise NotImplementedError
