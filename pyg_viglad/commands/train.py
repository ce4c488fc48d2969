"""``pyg-viglad train``: a detector from normal images."""

from typing import Any, Literal

from pyg_viglad.commands._data import DatasetName, open_data
from pyg_viglad.commands._report import format_table, write_report
from pyg_viglad.commands._run import find_checkpoint, open_run
from pyg_viglad.files import write_json

__all__ = ["train"]


def train(
    data: str = "digits",
    output: str = "runs/train",
    dataset: DatasetName = "auto",
    data_options: dict[str, Any] | None = None,
    size: Literal["small", "medium"] = "medium",
    image_size: int | tuple[int, int] = 256,
    teacher: str = "mobilenetv1",
    autoencoder: Literal["vig", "conv"] = "vig",
    student: Literal["pdn", "gpdn"] = "pdn",
    variant: Literal["ti", "s", "m", "b"] = "ti",
    k: int = 12,
    operator: str = "max_relative",
    dynamic: bool = True,
    losses: Literal["paper", "efficientad"] = "paper",
    feature: Literal["student_second", "student_first", "teacher"] = "student_second",
    fusion: Literal["standardized", "sum"] = "standardized",
    node_scorer: Literal["gaussian", "neighbors"] | None = None,
    quantiles: tuple[float, float] = (0.9, 0.995),
    threshold_quantile: float = 0.99,
    iterations: int = 100_000,
    max_minutes: float | None = None,
    batch_size: int = 1,
    penalty: str | None = None,
    lr: float = 1e-4,
    weight_decay: float = 1e-5,
    seed: int = 0,
    num_workers: int = 0,
    precision: str = "32-true",
    accelerator: str = "auto",
    devices: str = "auto",
    checkpoint_every: int = 500,
    resume: bool = False,
    cache_teacher: bool | None = None,
) -> dict[str, Any]:
    """Train ViGLAD on normal images, fit its statistics, and judge the test images.

    The output folder gets config.yaml, checkpoints, the model, metrics.json, scores.csv and pictures.

    Args:
        data: digits (scikit-learn's), an .npz file or a folder of MNIST, or a folder of images.
        output: Folder of the run.
        dataset: What a folder holds: images, or the digits of digit_anatomy.
        data_options: Further arguments of the data set, such as {"num_wrong_cells": 3}.
        size: Layers of the student.
        image_size: Side in pixels, or [height, width].
        teacher: mobilenetv1 (ships with the package) or a teacher file.
        autoencoder: The graph one or EfficientAD's convolutional one.
        student: What the student is: the paper's PDN, or GPDN, with a vision graph block (Figure 4).
        variant: Widths of the graph autoencoder.
        k: Number of neighbours of its graphs.
        operator: Its graph operator: max_relative, edge, sage, gin or gatv2.
        dynamic: Rebuild the graph in every block.
        losses: The paper's, or EfficientAD's.
        feature: What the Mahalanobis distance judges.
        fusion: How A_r and A_f are added.
        node_scorer: Score every node by itself (beyond the paper): by a Gaussian, or by its nearest
            neighbours in the training images.
        quantiles: Quantiles of the validation maps that become 0 and 0.1.
        threshold_quantile: Quantile of the validation scores that becomes the threshold.
        iterations: Optimiser steps.
        max_minutes: Stop training after so many minutes at the latest.
        batch_size: Images a step.
        penalty: Folder of natural photographs for the penalty; without one, scikit-learn's two.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        seed: Seed of weights, order and augmentation.
        num_workers: Processes that load images.
        precision: Lightning's precision, such as 32-true, bf16-mixed.
        accelerator: Lightning's accelerator, such as cpu, gpu.
        devices: Lightning's devices: a number or auto.
        checkpoint_every: Steps between checkpoints.
        resume: Go on from the last checkpoint in the output folder.
        cache_teacher: Compute the teacher's output once for every training image; by default on a CPU.

    Returns:
        The metrics that metrics.json holds.
    """
    config = dict(locals())
    import time

    from lightning import seed_everything

    from pyg_viglad.models import ViGLAD
    from pyg_viglad.training import PenaltyImages, fit, make_trainer

    if iterations < 1 or batch_size < 1:
        raise ValueError(
            f"Expected 'iterations' and 'batch_size' of at least 1 (got {iterations}, {batch_size})"
        )
    seed_everything(seed, verbose=False)
    model = ViGLAD(
        size,
        image_size,
        teacher,
        autoencoder,
        student=student,
        variant=variant,
        k=k,
        operator=operator,
        dynamic=dynamic,
        losses=losses,
        feature=feature,
        fusion=fusion,
        node_scorer=node_scorer,
        quantiles=quantiles,
        threshold_quantile=threshold_quantile,
    )
    splits = open_data(data, model.image_size, data_options, dataset)
    photographs = PenaltyImages(penalty, max(model.image_size), length=iterations, seed=seed)
    folder = open_run(output, "train", config)
    checkpoint = find_checkpoint(folder, "model", model) if resume else None
    trainer = make_trainer(
        folder,
        max_steps=iterations,
        precision=precision,
        accelerator=accelerator,
        devices=devices,
        checkpoint_every=checkpoint_every,
        max_minutes=max_minutes,
    )
    start = time.perf_counter()
    fit(
        model,
        splits.train,
        splits.validation,
        trainer,
        batch_size=batch_size,
        penalty=photographs,
        lr=lr,
        weight_decay=weight_decay,
        num_workers=num_workers,
        seed=seed,
        checkpoint=checkpoint,
        cache_teacher=cache_teacher,
        cache_folder=folder,
    )
    minutes = (time.perf_counter() - start) / 60
    model.save_pretrained(folder / "model")
    extra: dict[str, Any] = {
        "iterations": trainer.global_step,
        "fit_minutes": round(minutes, 2),
        "seed": seed,
    }
    if len(splits.test) == 0:
        write_json(folder / "metrics.json", extra)
        print(f"Model: {folder / 'model'} (no test images)")
        return extra
    _, table = write_report(folder, model, splits.test, extra)
    print(format_table(table))
    print(f"Model, scores and pictures: {folder}")
    return {"image_auroc": table, **extra}
