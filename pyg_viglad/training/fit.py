"""From a model and its images to a trained model with its statistics."""

from typing import Any

from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch

from pyg_viglad.models.viglad import ViGLAD
from pyg_viglad.training.photographs import Photographs
from pyg_viglad.training.step_sampler import StepSampler
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
    """
    if not model.teacher_normalization.fitted:
        model.fit_teacher_statistics(train)

    def sampler(size: int, items: int, shuffle: bool) -> StepSampler:
        return StepSampler(
            size, items, trainer.max_steps, seed, lambda: trainer.global_step, shuffle
        )

    loaders = {
        "images": DataLoader(
            train,
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
    trainer.fit(ViGLADTraining(model, lr, weight_decay, seed=seed), loaders, ckpt_path=checkpoint)
    model.eval()
    model.fit_statistics(train, validation)
