"""From a model and its images to a trained model with its statistics."""

import os
from typing import Any

from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch

from pyg_viglad.models._fit_statistics import teacher_features
from pyg_viglad.models.viglad import ViGLAD
from pyg_viglad.training.photographs import Photographs
from pyg_viglad.training.step_sampler import StepSampler
from pyg_viglad.training.teacher_cache import Numbered, open_cache
from pyg_viglad.training.viglad_training import ViGLADTraining

__all__ = ["fit"]


def fit(
    model: ViGLAD,
    train: Dataset[Any],
    validation: Dataset[Any],
    trainer: Any,
    *,
    batch_size: int = 1,
    penalty: Photographs | None = None,
    lr: float = 1e-4,
    weight_decay: float = 1e-5,
    num_workers: int = 0,
    seed: int = 0,
    checkpoint: str | None = None,
    cache_teacher: bool | None = None,
    cache_mb: float = 2048,
    cache_folder: str | os.PathLike[str] | None = None,
) -> None:
    """Train a model with a Lightning trainer and fit its statistics, on normal images alone.

    What a step sees and draws depends on ``seed`` and its number alone, so that training that was
    killed and goes on from a checkpoint ends with the weights of one that ran through.

    Args:
        model: The model; its teacher statistics are fitted first where they are missing.
        train: Normal images as a PyG data set with ``img``.
        validation: Normal images held out of training.
        trainer: A ``lightning.Trainer`` with ``max_steps``.
        batch_size: Training images a step (the paper: 1).
        penalty: Photographs for the second term of Eq. 15, one a step; with a seed of their own, they
            too are the same after a stop.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        num_workers: Processes that load images.
        seed: Seed of order and augmentation.
        checkpoint: A checkpoint of the same training to go on from.
        cache_teacher: Compute the teacher's output once for every training image instead of in every step.
            It is kept in the type in which a step would have it (float32 in full precision), so that the
            losses are the same to rounding. By default on a CPU, if the data set has no ``transform``:
            images must be the same in every round, which is checked. With ``losses="practice"`` it serves
            the first term alone, whose image is not jittered.
        cache_mb: How many MB of it are held in memory; the rest is in a file that is gone afterwards.
        cache_folder: Where that file is made; by default where the system has its temporary files.

    Raises:
        ValueError: If ``cache_teacher`` is asked for and images change, or the disk has no room for it.
    """
    cache = open_cache(model, train, cache_teacher, trainer, cache_mb, cache_folder)
    try:
        pairs = teacher_features(model, train)
        features = (found for _, found in pairs) if cache is None else cache.keep(pairs)
        if not model.teacher_normalization.fitted:
            model.teacher_normalization.fit(features)
        elif cache is not None:
            for _ in features:
                pass

        def sampler(size: int, items: int, shuffle: bool) -> StepSampler:
            return StepSampler(
                size, items, trainer.max_steps, seed, lambda: trainer.global_step, shuffle
            )

        loaders = {
            "images": DataLoader(
                train if cache is None else Numbered(train),
                batch_size,
                sampler=sampler(len(train), batch_size, shuffle=True),  # type: ignore[arg-type]
                num_workers=num_workers,
                collate_fn=Batch.from_data_list,
            )
        }
        if penalty is not None:
            loaders["penalty"] = DataLoader(
                penalty, 1, sampler=sampler(len(penalty), 1, shuffle=False), num_workers=num_workers
            )
        model.train()
        module = ViGLADTraining(model, lr, weight_decay, seed=seed, cache=cache)
        trainer.fit(module, loaders, ckpt_path=checkpoint)
    finally:
        if cache is not None:
            cache.close()
    model.eval()
    model.fit_statistics(train, validation)
