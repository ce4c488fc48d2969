"""ViGLAD, and with a convolutional autoencoder EfficientAD and PUAD, of this package."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pyg_viglad.benchmark.detector import Scores
from pyg_viglad.scoring.scorer import Feature, Scorer

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


class ViGLADDetector:
    """ViGLAD with all its options, and every score of one training.

    The scores are ``A`` (the paper's: maps and Mahalanobis distance, fused as PUAD does), ``A_r`` (the
    maps alone: with ``autoencoder="conv"`` this is EfficientAD, and ``A`` is PUAD), ``A_f`` (the
    distance alone) and, with ``nodes``, ``A_n`` and ``A+A_n``. Each of ``also_features`` adds
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
        self._scorers: dict[str, Any] = {}

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Train, from the last checkpoint in the folder where there is one, and fit the statistics."""
        from lightning import seed_everything

        from pyg_viglad.commands._run import make_trainer
        from pyg_viglad.models import ViGLAD
        from pyg_viglad.training.fit import fit
        from pyg_viglad.training.photographs import Photographs

        seed_everything(self.seed, verbose=False)
        model = ViGLAD(image_size=self.image_size, **self.options)
        for feature in self.also_features:
            self._scorers[feature] = _scorer_like(model, feature)
        photographs = Photographs(
            self.penalty,
            max(self.image_size),
            min_scale=0.25,
            grayscale=0.3,
            length=self.iterations,
            seed=self.seed,
        )
        kind, _, number = self.device.partition(":")
        trainer = make_trainer(
            folder,
            steps=self.iterations,
            accelerator={"cuda": "gpu"}.get(kind, kind),
            devices=f"{number}," if number else "1",
            progress=False,
            **self.trainer,  # type: ignore[arg-type]
        )
        last = folder / "checkpoints" / "last.ckpt"
        fit(
            model,
            train,
            validation,
            trainer,
            penalty=photographs,
            seed=self.seed,
            checkpoint=str(last) if last.is_file() else None,
            **self.training,  # type: ignore[arg-type]
        )
        self.model = model.to(self.device).eval()
        own = model.scorer
        for scorer in self._scorers.values():
            model.scorer = scorer.to(self.device)
            model.fit_statistics(train, validation)
        model.scorer = own
        if self.keep_model:
            model.save_pretrained(folder / "model")
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return {"iterations": trainer.global_step, "trained_parameters": trained}

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
        own = model.scorer
        for feature, scorer in self._scorers.items():
            model.scorer = scorer
            other = _predict(model, dataset)
            images[f"A:{feature}"] = other.paper_score
            images[f"A_f:{feature}"] = other.feature_score
        model.scorer = own
        return Scores(images, prediction.anomaly_map)


def _predict(model: "ViGLAD", dataset: Any) -> "Prediction":
    from pyg_viglad.commands._report import predict_all

    return predict_all(model, dataset, progress=False)


def _scorer_like(model: "ViGLAD", feature: Any) -> Any:
    """Make a scorer of another feature, without node-wise Gaussians: those do not depend on it."""
    own = model.scorer
    quantiles = (own.local.start, own.local.end)
    return Scorer(feature, own.fusion, quantiles, own.threshold.quantile)
