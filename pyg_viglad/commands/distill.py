"""``pyg-viglad distill``: a teacher from an ImageNet backbone."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pyg_viglad.commands.data import refuse_unreadable
from pyg_viglad.commands.run import OptionsOf, find_checkpoint, open_run
from pyg_viglad.training import PenaltyImages, make_trainer

__all__ = ["distill"]

_STEPS = {"max_steps": 60_000}


def distill(
    images: str,
    output: str = "runs/teacher",
    backbone: str = "wide_resnet101_2.tv_in1k",
    backbone_weights: str | None = None,
    backbone_options: dict[str, Any] | None = None,
    size: Literal["small", "medium"] = "small",
    network: Literal["pdn", "gpdn"] = "pdn",
    image_size: int = 256,
    batch_size: int = 16,
    lr: float = 1e-4,
    weight_decay: float = 1e-5,
    decay: float = 0.0,
    min_scale: float = 1.0,
    grayscale: float = 0.1,
    statistics_images: int = 10_000,
    num_workers: int = 0,
    trainer: Annotated[dict[str, Any] | None, OptionsOf(make_trainer, **_STEPS)] = None,
    seed: int = 0,
    resume: bool = False,
    licence: str = "",
) -> None:
    """Distil a teacher from any timm backbone and any folder of images (EfficientAD's procedure).

    Args:
        images: Folder of natural images, searched with all folders below it.
        output: Folder for the teacher (teacher.safetensors, teacher.json), checkpoints and logs.
        backbone: A timm model with feature maps at strides 8 and 16.
        backbone_weights: Its weights as a .safetensors or .pth file; without one, fetched by name.
        backbone_options: Further arguments of timm.create_model, such as {"pad_type": "same"}.
        size: Layers of the teacher.
        network: The paper's PDN, or GPDN, with a vision graph block (Figure 4).
        image_size: Side of the teacher's images in pixels; the backbone sees twice as many.
        batch_size: Images per step, of all processes together.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        decay: Share of the steps, at the end, over which the learning rate falls to 0.
        min_scale: Smallest share of an image's area that a training crop covers; below 1, crops are
            random and mirrored.
        grayscale: Probability that an image loses its colours.
        statistics_images: Number of images for the mean and standard deviation of the target.
        num_workers: Processes that load images.
        trainer: Arguments of make_trainer; 60,000 steps by default, as EfficientAD takes.
        seed: Seed of weights and images.
        resume: Resume from the last checkpoint in the output folder, or from the beginning if there is
            none yet. All options must be those of the interrupted run, except those of length, place
            and speed (trainer.* other than precision, num_workers), decay and licence.
        licence: A sentence on the licence of backbone and images, kept in teacher.json.
    """
    config = dict(locals())
    from lightning import seed_everything
    from torch.utils.data import DataLoader, Subset
    from tqdm import tqdm

    from pyg_viglad.models import BackboneFeatures, make_network, save_teacher
    from pyg_viglad.scoring import ChannelNormalization
    from pyg_viglad.training import DistillationModule
    from pyg_viglad.training.checkpoint import run_trainer
    from pyg_viglad.training.data import StepSampler, shards_of

    if image_size < 64 or image_size % 4:
        raise ValueError(
            f"Expected 'image_size' to be at least 64 and divisible by 4 (got {image_size})"
        )
    for name, value in (("batch_size", batch_size), ("statistics_images", statistics_images)):
        if value < 1:
            raise ValueError(f"Expected {name!r} to be at least 1 (got {value})")
    for name, share in (("decay", decay), ("grayscale", grayscale), ("min_scale", min_scale)):
        if not 0 <= share <= 1:
            raise ValueError(f"Expected {name!r} in [0, 1] (got {share})")
    loop = make_trainer(output, **{**_STEPS, **(trainer or {})})
    processes, share = partial(shards_of, loop), batch_size // loop.world_size
    if share * loop.world_size != batch_size or share < 1:
        raise ValueError(
            f"Expected 'batch_size' to be a multiple of the {loop.world_size} processes "
            f"(got {batch_size})"
        )
    seed_everything(seed, verbose=False)
    plain = PenaltyImages(images, 2 * image_size, augment=False, grayscale=0.0, seed=None)
    refuse_unreadable(plain)
    features = BackboneFeatures(backbone, backbone_weights, **(backbone_options or {}))
    teacher = make_network(network, size, 384, padding=True)
    checkpoint = find_checkpoint(config, "teacher", teacher) if resume else None
    folder = open_run(output, "distill", config) if loop.is_global_zero else Path(output)
    normalization = ChannelNormalization(384)
    photographs = None
    if checkpoint is None:
        subset = Subset(plain, range(min(statistics_images, len(plain))))
        order = StepSampler(len(subset), 1, len(subset), seed, shuffle=False, shards=processes)
        loader = DataLoader(subset, share, sampler=order, num_workers=num_workers)
        photographs = tqdm(loader, desc="Target statistics", disable=not loop.is_global_zero)
    crops = PenaltyImages(
        images,
        2 * image_size,
        augment=min_scale < 1,
        min_scale=min_scale,
        grayscale=grayscale,
        length=loop.max_steps * batch_size,
        seed=seed,
    )
    sampler = StepSampler(
        len(crops),
        batch_size,
        loop.max_steps,
        seed,
        lambda: loop.global_step,
        shuffle=False,
        shards=processes,
    )
    loader = DataLoader(crops, share, sampler=sampler, num_workers=num_workers)
    module = DistillationModule(
        teacher, features, normalization, lr, weight_decay, decay, photographs
    )
    run_trainer(loop, module, loader, checkpoint)
    if not loop.is_global_zero:
        return
    card = {
        "architecture": f"{network.upper()} {size}, 384 channels",
        "backbone": backbone,
        "backbone_weights": Path(backbone_weights).name if backbone_weights else "by name",
        "images": f"{len(plain)} photographs",
        "seed": seed,
        "steps": loop.global_step,
        "final_loss": round(module.smooth_loss or float("nan"), 4),
        "loss": "mean squared error to channel-normalised features, smoothed over about 100 steps",
        "licence": licence,
    }
    save_teacher(teacher, folder / "teacher.safetensors", card)
    print(f"Teacher: {folder / 'teacher.safetensors'} (loss {card['final_loss']})")
