"""ViGLAD, and with a convolutional autoencoder EfficientAD and PUAD, of this package."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from benchmarks.grid._loops import in_order
from benchmarks.grid.detector import Scores
from pyg_viglad.models.viglad import Feature
from pyg_viglad.scoring import Mahalanobis, Standardization

if TYPE_CHECKING:
    from pyg_viglad.models import Prediction, ViGLAD

__all__ = ["ViGLADDetector"]

# Names of the scores, the paper's own first, and where a Prediction has them.
SCORES = {
    "A": "paper_score",
    "A_r": "reconstruction_score",
    "A_f": "feature_score",
    "A_n": "node_score",
    "A+A_n": "score",
}

_BATCH = 8


class ViGLADDetector:
    """ViGLAD with all its options, and every score of one training.

    The scores are ``A`` (the paper's: maps and Mahalanobis distance, fused as PUAD does), ``A_r`` (the
    maps alone: with ``autoencoder="conv"`` this is EfficientAD, and ``A`` is PUAD), ``A_f`` (the
    distance alone), ``A_r:local`` and ``A_r:global`` (the maximum of either map) and, with ``nodes``,
    ``A_n`` and ``A+A_n``. Each of ``also_features`` adds
    ``A:<feature>`` and ``A_f:<feature>`` from the same weights (Table 5 of the paper).

    Args:
        image_size: Height and width of the images.
        seed: Seed of weights, order, photographs and augmentation.
        device: A torch device.
        iterations: Optimiser steps.
        batch_size: Images a step.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        penalty: Folder of natural photographs; without one, scikit-learn's two.
        precision: Lightning's precision.
        num_workers: Processes that load images.
        checkpoint_every: Steps between checkpoints, from which an interrupted training goes on.
        cache_teacher: Compute the teacher's output once for every training image; by default on a CPU.
        also_features: Further features whose Mahalanobis distance is judged.
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
        if iterations < 1 or batch_size < 1:
            raise ValueError(
                f"Expected 'iterations' and 'batch_size' of at least 1 (got {iterations}, {batch_size})"
            )
        self.image_size = image_size
        self.seed = seed
        self.device = device
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
        known = get_args(Feature)
        for feature in also_features:
            if feature not in known:
                raise ValueError(
                    f"Expected 'also_features' among {', '.join(known)} (got {feature!r})"
                )
        self.also_features = list(also_features)
        self.keep_model = keep_model
        self.options = dict(options)
        if isinstance(options.get("quantiles"), list):
            self.options["quantiles"] = tuple(options["quantiles"])
        self.model: ViGLAD | None = None
        self._others: dict[str, tuple[Mahalanobis, Standardization]] = {}

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Train, from the last checkpoint in the folder where there is one, and fit the statistics."""
        from lightning import seed_everything

        from pyg_viglad.models import ViGLAD
        from pyg_viglad.training import PenaltyImages, fit, make_trainer

        seed_everything(self.seed, verbose=False)
        model = ViGLAD(image_size=self.image_size, **self.options)
        photographs = PenaltyImages(
            self.penalty, max(self.image_size), length=self.iterations, seed=self.seed
        )
        kind, _, number = self.device.partition(":")
        trainer = make_trainer(
            folder,
            max_steps=self.iterations,
            accelerator={"cuda": "gpu"}.get(kind, kind),
            devices=f"{number}," if number else "1",
            progress=False,
            **self.trainer,  # type: ignore[arg-type]
        )
        last = folder / "checkpoints" / "last.ckpt"
        resumed = last.is_file()  # then the seconds of the record are those of the last part
        fit(
            model,
            train,
            validation,
            trainer,
            penalty=photographs,
            seed=self.seed,
            checkpoint=str(last) if resumed else None,
            cache_folder=folder,
            **self.training,  # type: ignore[arg-type]
        )
        self.model = model.to(self.device).eval()
        self._fit_others(model, train, validation)
        if self.keep_model:
            model.save_pretrained(folder / "model")
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return {
            "iterations": trainer.global_step,
            "trained_parameters": trained,
            "resumed": resumed,
        }

    def predict(self, dataset: Any) -> Scores:
        """Score every image by every score; the maps are the combined ones."""
        if self.model is None:
            raise ValueError("Expected fit() before predict() (got a detector without it)")
        model = self.model
        prediction = _predict(model, dataset)
        images = {
            name: getattr(prediction, field)
            for name, field in SCORES.items()
            if getattr(prediction, field) is not None
        }
        if prediction.node_score is None:
            del images["A+A_n"]  # it is A
        for part, maps in (("local", prediction.local_map), ("global", prediction.global_map)):
            images[f"A_r:{part}"] = maps.amax((1, 2))
        for feature, vectors in self._vectors(model, dataset).items():
            gaussian, scale = self._others[feature]
            distance = gaussian(vectors)
            images[f"A_f:{feature}"] = distance
            images[f"A:{feature}"] = (
                model.reconstruction_scale(prediction.reconstruction_score) + scale(distance)
                if model.fusion == "standardized"
                else prediction.reconstruction_score + distance
            )
        return Scores(images, prediction.anomaly_map)

    def _vectors(self, model: "ViGLAD", dataset: Any) -> dict[str, Tensor]:
        """Give the spatial means ``[B, C]`` of the further features."""
        if not self.also_features:
            return {}
        parts: dict[str, list[Tensor]] = {feature: [] for feature in self.also_features}
        with torch.no_grad():
            for images in in_order(dataset, _BATCH, self.device):
                features = model.features(images)
                for feature, found in parts.items():
                    found.append(getattr(features, feature).float().mean((2, 3)).cpu())
        return {feature: torch.cat(found) for feature, found in parts.items()}

    def _fit_others(self, model: "ViGLAD", train: Any, validation: Any) -> None:
        """Fit a Gaussian of the training images and a scale of the validation images for each."""
        held_out = self._vectors(model, validation)
        for feature, vectors in self._vectors(model, train).items():
            gaussian, scale = Mahalanobis(vectors.size(1)), Standardization()
            gaussian.fit(vectors)
            scale.fit(gaussian(held_out[feature]))
            self._others[feature] = (gaussian, scale)


def _predict(model: "ViGLAD", dataset: Any) -> "Prediction":
    from pyg_viglad.commands._report import predict_all

    return predict_all(model, dataset, progress=False)
