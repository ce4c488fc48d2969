"""ViGLAD, and with a convolutional autoencoder EfficientAD and PUAD, of this package."""

from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from benchmarks.grid.detector import Scores
from pyg_viglad.models import ViGLAD
from pyg_viglad.models.viglad import Feature
from pyg_viglad.scoring import Mahalanobis, Standardization

__all__ = ["ViGLADDetector"]

# Names of the scores, the paper's own first, and the fields of a Prediction that hold them.
SCORES = {
    "A": "paper_score",
    "A_r": "reconstruction_score",
    "A_f": "feature_score",
    "A_n": "node_score",
    "A+A_n": "score",
}


class ViGLADDetector:
    """ViGLAD with all its options, and every score of one training.

    The scores are ``A`` (the paper's: maps and Mahalanobis distance, fused as PUAD does), ``A_r`` (the
    maps alone), ``A_f`` (the distance alone), ``A_r:local`` and ``A_r:global`` (the maximum of either map)
    and, with ``node_scorer``, ``A_n`` and ``A+A_n``. With ``autoencoder="conv"`` and
    ``losses="efficientad"``, ``A_r`` is EfficientAD's score and ``A:student_first`` is PUAD's. Each of
    ``also_features`` adds ``A:<feature>`` and ``A_f:<feature>`` from the same weights (Table 5 of the paper).

    Args:
        image_size: Height and width of the images.
        seed: Seed of weights, order, penalty images and augmentation.
        device: A torch device.
        iterations: Optimiser steps.
        batch_size: Images per step.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        penalty: Folder of natural images (default: scikit-learn's two photographs).
        precision: Lightning's precision.
        num_workers: Processes that load images.
        checkpoint_every: Steps between checkpoints, from which an interrupted training resumes.
        cache_teacher: Whether to compute the teacher's features once per image (default: on a CPU).
        also_features: Further features whose Mahalanobis distance is scored.
        keep_model: Whether the trained model is written to the folder.
        **options: Arguments of :class:`~pyg_viglad.ViGLAD`: size, teacher, autoencoder, k, ...

    Raises:
        FileNotFoundError: If the teacher's file does not exist.
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        seed: int = 0,
        device: str = "cpu",
        *,
        iterations: int = 100_000,
        batch_size: int = 1,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        penalty: str | None = None,
        precision: str = "32-true",
        num_workers: int = 0,
        checkpoint_every: int = 500,
        cache_teacher: bool | None = None,
        also_features: list[str] | tuple[str, ...] = (),
        keep_model: bool = False,
        **options: Any,
    ) -> None:
        for name, value in (("iterations", iterations), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"Expected {name!r} to be at least 1 (got {value})")
        for feature in also_features:
            if feature not in get_args(Feature):
                known = ", ".join(get_args(Feature))
                raise ValueError(f"Expected 'also_features' among {known} (got {feature!r})")
        self.image_size, self.seed, self.device = image_size, seed, device
        self.iterations = iterations
        self.penalty = penalty
        self.training = {
            "batch_size": batch_size,
            "lr": lr,
            "weight_decay": weight_decay,
            "num_workers": num_workers,
            "cache_teacher": cache_teacher,
        }
        self.trainer = {"precision": precision, "checkpoint_every": checkpoint_every}
        self.also_features = list(also_features)
        self.keep_model = keep_model
        self.options = options
        self.model: ViGLAD | None = None
        self._others: dict[str, tuple[Mahalanobis, Standardization]] = {}

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Trains, from the last checkpoint in the folder where there is one, and fits the statistics."""
        from lightning import seed_everything

        from pyg_viglad.training import PenaltyImages, fit, make_trainer

        seed_everything(self.seed, verbose=False)
        model = ViGLAD(image_size=self.image_size, **self.options)
        penalty = PenaltyImages(
            self.penalty, max(self.image_size), length=self.iterations, seed=self.seed
        )
        kind, _, number = self.device.partition(":")
        trainer = make_trainer(
            folder,
            max_steps=self.iterations,
            accelerator={"cuda": "gpu"}.get(kind, kind),
            devices=f"{number}," if number else "1",
            progress=False,
            **self.trainer,
        )
        last = folder / "checkpoints" / "last.ckpt"
        resumed = last.is_file()  # then the record's seconds are those of the last part
        fit(
            model,
            train,
            validation,
            trainer,
            penalty=penalty,
            seed=self.seed,
            checkpoint=str(last) if resumed else None,
            cache_folder=folder,
            **self.training,
        )
        self.model = model.to(self.device).eval()
        held_out = self._vectors(validation)
        for feature, vectors in self._vectors(train).items():
            gaussian, scale = Mahalanobis(vectors.size(1)), Standardization()
            gaussian.fit(vectors)
            scale.fit(gaussian(held_out[feature]))
            self._others[feature] = (gaussian, scale)
        if self.keep_model:
            model.save_pretrained(folder / "model")
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return {
            "iterations": trainer.global_step,
            "trained_parameters": trained,
            "resumed": resumed,
        }

    def predict(self, dataset: Any) -> Scores:
        """Scores every image by every score; the maps are the combined ones."""
        from pyg_viglad.commands.report import predict_all

        if self.model is None:
            raise ValueError("Expected fit() before predict() (got a detector without it)")
        prediction = predict_all(self.model, dataset, progress=False)
        images = {name: getattr(prediction, field) for name, field in SCORES.items()}
        if prediction.node_score is None:
            del images["A_n"]
            if self.model.fusion != "pseudo":
                del images["A+A_n"]  # which is A
        images["A_r:local"] = prediction.local_map.amax((1, 2))
        images["A_r:global"] = prediction.global_map.amax((1, 2))
        for feature, vectors in self._vectors(dataset).items():
            gaussian, scale = self._others[feature]
            reconstruction, distance = prediction.reconstruction_score, gaussian(vectors)
            images[f"A_f:{feature}"] = distance
            if self.model.fusion == "standardized":
                reconstruction = self.model.reconstruction_scale(reconstruction)
                distance = scale(distance)
            images[f"A:{feature}"] = reconstruction + distance
        return Scores(images, prediction.anomaly_map)

    @torch.no_grad()
    def _vectors(self, dataset: Any) -> dict[str, Tensor]:
        """Returns the spatial means ``[B, C]`` of the further features."""
        if not self.also_features:
            return {}
        parts: dict[str, list[Tensor]] = {feature: [] for feature in self.also_features}
        for batch in DataLoader(dataset, 8, collate_fn=Batch.from_data_list):
            features = self.model.features(batch.img.to(self.device))
            for feature, found in parts.items():
                found.append(getattr(features, feature).float().mean((2, 3)).cpu())
        return {feature: torch.cat(found) for feature, found in parts.items()}
