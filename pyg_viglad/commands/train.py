"""``pyg-viglad train``: a detector from normal images."""

import math
import time
from pathlib import Path
from typing import Annotated, Any

from pyg_viglad import training
from pyg_viglad.commands.data import DatasetName, open_data, refuse_problems, refuse_unreadable
from pyg_viglad.commands.report import format_table, write_report
from pyg_viglad.commands.run import OptionsOf, find_checkpoint, open_run
from pyg_viglad.files import write_json
from pyg_viglad.models import ViGLAD

__all__ = ["train"]

_SET_BY_TRAIN = ("penalty", "seed", "checkpoint", "cache_folder")


def train(
    data: str = "digits",
    output: str = "runs/train",
    dataset: DatasetName = "auto",
    data_options: dict[str, Any] | None = None,
    model: Annotated[dict[str, Any] | None, OptionsOf(ViGLAD)] = None,
    fit: Annotated[dict[str, Any] | None, OptionsOf(training.fit, *_SET_BY_TRAIN)] = None,
    trainer: Annotated[dict[str, Any] | None, OptionsOf(training.make_trainer)] = None,
    penalty: str | None = None,
    seed: int = 0,
    resume: bool = False,
) -> dict[str, Any]:
    """Train ViGLAD on normal images, fit its statistics, and score the test images.

    The output folder gets config.yaml, checkpoints, the model, metrics.json, scores.csv and pictures.

    Args:
        data: digits (scikit-learn's), mnist, an .npz file or a folder of MNIST, or a folder of images.
        output: Folder of the run.
        dataset: Data set to open; auto takes digits, mnist and .npz files as digit_anatomy, all else as
            image_folder.
        data_options: Further arguments of the data set, such as {"num_wrong_cells": 3}.
        model: Arguments of ViGLAD.
        fit: Arguments of fit.
        trainer: Arguments of make_trainer.
        penalty: Folder of natural images for the penalty; by default scikit-learn's two photographs.
        seed: Seed of weights, order and augmentation.
        resume: Resume from the last checkpoint in the output folder, or from the beginning if there is
            none yet. All options must be those of the interrupted run, except those of length, place
            and speed (trainer.* other than precision, fit.num_workers, fit.cache_teacher). With more
            steps the learning rate follows the new number.

    Returns:
        The metrics that metrics.json holds.
    """
    config = dict(locals())
    from lightning import seed_everything

    loop = training.make_trainer(output, **(trainer or {}))
    seed_everything(seed, verbose=False)
    detector = ViGLAD(**(model or {}))
    splits = open_data(data, detector.image_size, data_options, dataset)
    refuse_problems(splits)
    natural = training.PenaltyImages(
        penalty, max(detector.image_size), length=loop.max_steps, seed=seed
    )
    refuse_unreadable(natural)
    checkpoint = find_checkpoint(config, "model", detector) if resume else None
    folder = open_run(output, "train", config) if loop.is_global_zero else Path(output)
    start = time.perf_counter()
    training.fit(
        detector,
        splits.train,
        splits.validation,
        loop,
        penalty=natural,
        seed=seed,
        checkpoint=checkpoint,
        cache_folder=folder,
        **(fit or {}),
    )
    extra: dict[str, Any] = {
        "iterations": loop.global_step,
        "fit_minutes": round((time.perf_counter() - start) / 60, 2),
        "seed": seed,
    }
    if not loop.is_global_zero:
        return extra
    about = {"data": f"{len(splits.train)} images of {Path(data).name}"}
    detector.save_pretrained(folder / "model", model_card_kwargs=about)
    if len(splits.test) == 0:
        write_json(folder / "metrics.json", extra)
        print(f"Model: {folder / 'model'} (no test images)")
        return extra
    metrics = write_report(folder, detector, splits.test, extra)
    score = metrics["image_auroc"]["score"]
    known = {kind: value for kind, value in score.items() if not math.isnan(value)}
    aurocs = ", ".join(f"{kind} {100 * value:.1f}" for kind, value in known.items())
    about["scores"] = f"image AUROC in per cent: {aurocs}"
    detector.save_pretrained(folder / "model", model_card_kwargs=about)
    print(format_table(metrics["image_auroc"]))
    print(f"Model, scores and pictures: {folder}")
    return metrics
