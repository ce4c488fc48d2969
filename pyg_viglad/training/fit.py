"""From a model and its images to a trained model with its statistics."""

from typing import Any

from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch

from pyg_viglad.models.viglad import ViGLAD
from pyg_viglad.training.photographs import Photographs
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
    checkpoint: str | None = None,
) -> None:
    """Train a model with a Lightning trainer and fit its statistics, on normal images alone.

    Args:
        model: The model; its teacher statistics are fitted first where they are missing.
        train: Normal images as a PyG data set with ``img``.
        validation: Normal images held out of training.
        trainer: A ``lightning.Trainer`` that counts steps.
        batch_size: Training images a step (the paper: 1).
        penalty: Photographs for the second term of Eq. 15, one a step.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        num_workers: Processes that load images.
        checkpoint: A checkpoint of the same training to go on from.
    """
    if not model.teacher_normalization.fitted:
        model.fit_teacher_statistics(train)
    loaders = {
        "images": DataLoader(
            train,
            batch_size,
            shuffle=True,
            drop_last=len(train) >= batch_size,  # type: ignore[arg-type]
            num_workers=num_workers,
            collate_fn=Batch.from_data_list,
        )
    }
    if penalty is not None:
        loaders["penalty"] = DataLoader(penalty, 1, shuffle=True, num_workers=num_workers)
    model.train()
    trainer.fit(ViGLADTraining(model, lr, weight_decay), loaders, ckpt_path=checkpoint)
    model.eval()
    model.fit_statistics(train, validation)
