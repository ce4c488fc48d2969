"""Fitting everything that ViGLAD estimates instead of training."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data

from pyg_viglad.scoring import RawScores
from pyg_viglad.scoring.scorer import spatial_mean
from pyg_viglad.transforms import to_batch

if TYPE_CHECKING:
    from pyg_viglad.models.viglad import ViGLAD

__all__ = [
    "ImageSource",
    "fit_statistics",
    "fit_teacher_statistics",
    "image_batches",
    "teacher_features",
]

ImageSource = Tensor | Dataset[Any] | Iterable[Any]

_BATCH_SIZE = 8


def image_batches(source: ImageSource, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Go through images in batches ``[B, 3, H, W]``.

    Args:
        source: A tensor ``[n, 3, H, W]``, a data set of tensors or of ``Data`` with ``img``, or an
            iterable of batches of either.
        device: Where the batches go.
    """
    batches: Iterable[Any]
    if isinstance(source, Tensor):
        batches = source.split(_BATCH_SIZE)
    elif hasattr(source, "__getitem__") and not isinstance(source, list | tuple):
        dataset: Any = source
        first = dataset[0] if len(dataset) else None
        collate = Batch.from_data_list if isinstance(first, Data) else None
        batches = DataLoader(dataset, _BATCH_SIZE, collate_fn=collate)
    else:
        batches = source
    for batch in batches:
        images = batch.img if isinstance(batch, Data) else batch
        yield images.to(device)


@torch.no_grad()
def teacher_features(model: "ViGLAD", train: ImageSource) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through batches of images, as they come, and the teacher's output before normalisation."""
    device = next(model.parameters()).device
    for images in image_batches(train, device):
        yield images, model.teacher(model.normalize(to_batch(images, model.image_size)))


def fit_teacher_statistics(model: "ViGLAD", train: ImageSource) -> None:
    """Fit mean and standard deviation of the teacher's channels on the un-augmented training images."""
    model.teacher_normalization.fit(features for _, features in teacher_features(model, train))


@torch.no_grad()
def fit_statistics(model: "ViGLAD", train: ImageSource, validation: ImageSource) -> None:
    """Fit Gaussians on training images; quantiles, scales and threshold on validation images."""
    if not model.teacher_normalization.fitted:
        fit_teacher_statistics(model, train)
    device = next(model.parameters()).device
    scorer = model.scorer
    training = model.training
    model.eval()
    vectors, node_features = [], []
    mirrors: dict[int, list[Tensor]] = {}
    for images in image_batches(train, device):
        # Only those networks run whose features a Gaussian needs.
        normal = model.normalize(to_batch(images, model.image_size))
        teacher = None
        if scorer.nodes is not None or scorer.feature == "teacher":
            teacher = model.teach(normal)
        chosen = teacher if scorer.feature == "teacher" else model.imitate(normal, scorer.feature)
        vectors.append(spatial_mean(chosen))  # type: ignore[arg-type]
        if scorer.nodes is not None and teacher is not None:
            node_features.append(teacher)
            for dim in (3, 2) if scorer.nodes.mirrored else ():
                mirrors.setdefault(dim, []).append(model.teach(normal.flip(dim)))
    if not vectors:
        raise ValueError("Expected at least one training image (got none)")
    scorer.gaussian.fit(torch.cat(vectors))
    if scorer.nodes is not None:
        scorer.nodes.fit(node_features, list(mirrors.values()))
    held_out = [model.features(images) for images in image_batches(validation, device)]
    if not held_out:
        raise ValueError("Expected at least one validation image (got none)")
    if scorer.nodes is not None:
        scorer.nodes.calibrate([features.teacher for features in held_out])
    columns = zip(*(scorer.raw(features) for features in held_out), strict=True)
    joined = RawScores(*(None if c[0] is None else torch.cat(c) for c in columns))  # type: ignore[arg-type]
    scorer.calibrate(joined)
    model.train(training)
