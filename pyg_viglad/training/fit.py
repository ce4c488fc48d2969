"""Training of ViGLAD and the fit of its statistics."""

import os
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch

from pyg_viglad.models import ViGLAD
from pyg_viglad.training.data import StepSampler, TeacherCache, shards_of

if TYPE_CHECKING:
    from lightning import Trainer

__all__ = ["fit", "make_trainer"]


def fit(
    model: ViGLAD,
    train: Dataset[Any],
    validation: Dataset[Any],
    trainer: "Trainer",
    *,
    batch_size: int = 1,
    penalty: Dataset[Tensor] | None = None,
    lr: float = 1e-4,
    weight_decay: float = 1e-5,
    num_workers: int = 0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    cache_teacher: bool | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
) -> None:
    """Trains a model with a Lightning trainer and fits its statistics, on normal images alone.

    What a step sees and draws depends on ``seed`` and the step's number alone: a training that was
    interrupted and goes on from a checkpoint ends with identical weights. Several processes, as
    Lightning's DDP starts them, divide the images of every step and of the statistics; weights and
    statistics are those of one process, up to rounding, unless ``losses="efficientad"`` or a dropout
    draws random numbers.

    Args:
        model: The model; its teacher statistics are fitted first where they are missing.
        train: Normal images, a data set of ``Data`` with ``img``.
        validation: Normal images held out of training, likewise.
        trainer: A trainer with ``max_steps``, see :func:`make_trainer`.
        batch_size: Training images per step (the paper: 1), of all processes together.
        penalty: Natural images for the penalty term of Eq. 15, one per step, see
            :class:`PenaltyImages`; without them the term is left out.
        lr: Learning rate of Adam (the paper: 1e-4), divided by 10 after 95 % of the steps.
        weight_decay: Weight decay of Adam.
        num_workers: Processes that load images.
        seed: Seed of the order of images and of what is drawn in the steps.
        checkpoint: A checkpoint of the same training to resume from. With another number of steps the
            learning rate follows the new one.
        cache_teacher: Whether the teacher's features of every training image are computed once and read
            from a memory-mapped file in each step. Images must then be the same in every round, which is
            checked. By default in a single process on a CPU if the data set has no ``transform``.
        cache_folder: Folder of that file, which is gone afterwards; by default the system's temporary
            folder.
        precision: Precision of the networks while statistics are fitted, in which the model then judges, see
            :meth:`ViGLAD.fit_statistics() <pyg_viglad.ViGLAD.fit_statistics>`; that of the training is the
            trainer's.

    Raises:
        KeyboardInterrupt: After Ctrl-C, which lets the current step end and, with a trainer of
            :func:`make_trainer`, writes a checkpoint.
        ValueError: If ``batch_size`` or the trainer's steps are below 1, there are fewer than two training
            images or no validation image, ``batch_size`` is not a multiple of the number of processes or
            there are fewer images than processes, a loss is not finite, or with ``cache_teacher=True`` an
            image changes or the disk has too little space.

    Example:
        >>> from pyg_viglad.datasets import DigitAnatomy
        >>> from pyg_viglad.training import PenaltyImages, fit, make_trainer
        >>> train, validation = (
        ...     DigitAnatomy(split, image_size=96, num_train=4, num_val=2) for split in ("train", "val")
        ... )
        >>> model = ViGLAD("small", image_size=96)
        >>> trainer = make_trainer("runs/digits", max_steps=1000)  # doctest: +SKIP
        >>> fit(model, train, validation, trainer, penalty=PenaltyImages(size=96))  # doctest: +SKIP
        >>> model.save_pretrained("runs/digits/model")  # doctest: +SKIP
    """
    from pyg_viglad.training.checkpoint import run_trainer
    from pyg_viglad.training.modules import ViGLADModule, move_to_gpu

    if batch_size < 1:
        raise ValueError(f"Expected 'batch_size' to be at least 1 (got {batch_size})")
    number, held_out = len(train), len(validation)  # type: ignore[arg-type]
    if number < 2 or held_out < 1:
        raise ValueError(
            "Expected at least two training images and one validation image "
            f"(got {number} and {held_out})"
        )
    processes = trainer.world_size
    if batch_size % processes or min(number, held_out) < processes:
        raise ValueError(
            f"Expected 'batch_size' to be a multiple of the {processes} processes, and an image of "
            f"training and validation for each (got {batch_size}, {number} and {held_out})"
        )
    steps = trainer.max_steps
    sampler = StepSampler(
        number,
        batch_size,
        steps,
        seed,
        lambda: trainer.global_step,
        shards=partial(shards_of, trainer),
    )
    share = batch_size // processes
    collate = Batch.from_data_list
    loaders: dict[str, DataLoader[Any]] = {
        "images": DataLoader(
            train, share, sampler=sampler, collate_fn=collate, num_workers=num_workers
        )
    }
    if penalty is not None:
        # The same image in all processes: the mean of their losses is that of one process.
        one = StepSampler(len(penalty), 1, steps, seed, lambda: trainer.global_step, shuffle=False)  # type: ignore[arg-type]
        loaders["penalty"] = DataLoader(penalty, 1, sampler=one, num_workers=num_workers)
    alone_on_cpu = processes == 1 and trainer.strategy.root_device.type == "cpu"
    cache = None
    if cache_teacher or (cache_teacher is None and alone_on_cpu and not _has_transform(train)):
        height, width = model.image_size
        shape = (model.teacher.out_channels, (height - 32) // 4, (width - 32) // 4)
        # The type in which a training step computes them.
        kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
        dtype = kinds.get(str(trainer.precision).split("-")[0], torch.float32)
        try:
            cache = TeacherCache(number, shape, dtype, cache_folder, strict=cache_teacher is True)
        except (OSError, ValueError) as error:
            if cache_teacher:
                raise
            warnings.warn(f"The teacher's features are not cached: {error}", stacklevel=2)

    model.train()
    module = ViGLADModule(model, lr, weight_decay, seed=seed, images=train, cache=cache)
    run_trainer(trainer, module, loaders, checkpoint)
    module.images = module.cache = None  # frees its file: the trainer keeps the module
    move_to_gpu(module)  # Lightning moves it back
    # As it will be loaded, whatever the precision of the training.
    model.to(torch.get_default_dtype())
    model.fit_statistics(train, validation, shards_of(trainer), precision)


def _has_transform(dataset: Any) -> bool:
    """Whether a data set, or one that it is a subset of, has a transform."""
    while dataset is not None:
        if getattr(dataset, "transform", None) is not None:
            return True
        dataset = getattr(dataset, "dataset", None)
    return False


def make_trainer(
    folder: str | os.PathLike[str],
    max_steps: int = 100_000,
    *,
    max_minutes: float | None = None,
    precision: str | int = "32-true",
    accelerator: str = "auto",
    devices: int | str | list[int] = 1,
    num_nodes: int = 1,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> "Trainer":
    """Builds a Lightning trainer that counts steps, keeps the last checkpoint and logs to CSV.

    Args:
        folder: Folder of ``checkpoints/last.ckpt`` and ``metrics.csv``.
        max_steps: Optimiser steps (the paper: 100,000), with those before a checkpoint to resume from.
        max_minutes: Stop after so many minutes at the latest, with those before a checkpoint.
        precision: Lightning's precision, such as ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's accelerator, such as ``cpu`` or ``gpu``.
        devices: Processes on a machine, each on a device of its own (default: 1), ``auto`` for all devices,
            or the numbers of some GPUs.
        num_nodes: Machines (default: 1); ``torchrun`` or SLURM starts the processes.
        checkpoint_every: Steps between checkpoints; the last step, Ctrl-C and SIGTERM leave one too.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``max_steps`` or ``checkpoint_every`` is below 1, ``max_minutes`` is not positive,
            or Lightning cannot use the other arguments on this machine.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_trainer(folder, max_steps=100, accelerator="cpu").max_steps
        100
    """
    import logging
    from datetime import timedelta

    from lightning import Trainer
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.callbacks import TQDMProgressBar
    from lightning.pytorch.loggers import CSVLogger

    from pyg_viglad.training.checkpoint import LastCheckpoint, WholeFiles

    for name, value in (("max_steps", max_steps), ("checkpoint_every", checkpoint_every)):
        if value < 1:
            raise ValueError(f"Expected {name!r} to be at least 1 (got {value})")
    if max_minutes is not None and max_minutes <= 0:
        raise ValueError(f"Expected 'max_minutes' above 0 (got {max_minutes})")
    folder = Path(folder).expanduser()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for notice in (
        "does not have many workers",
        "Experiment logs directory",  # it holds config.yaml already
        "in eval mode at the start",  # the frozen teacher
        "smaller than the logging interval",
        "your dataloader is not resumable",  # its sampler is
        "LeafSpec",
    ):
        warnings.filterwarnings("ignore", message=f"(?s).*{notice}")
    try:
        checkpoints = LastCheckpoint(folder / "checkpoints" / "last.ckpt", checkpoint_every)
        return Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            precision=precision,  # type: ignore[arg-type]
            max_steps=max_steps,
            max_epochs=-1,
            max_time=None if max_minutes is None else timedelta(minutes=max_minutes),
            plugins=[WholeFiles()],
            callbacks=[checkpoints, *([TQDMProgressBar(refresh_rate=10)] if progress else [])],
            logger=CSVLogger(str(folder), name="", version=""),
            log_every_n_steps=10,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(f"Expected a trainer that this machine can run ({error})") from error
