"""Normal images and a trainer for the tests of training."""

import torch
from lightning import Trainer
from torch_geometric.data import Data


class Images(list):
    """A data set of normal images."""

    def __init__(self, number):
        generator = torch.Generator().manual_seed(number)
        images = torch.rand(number, 1, 3, 96, 96, generator=generator)
        super().__init__(Data(img=image, num_nodes=0) for image in images)


def trainer(folder, steps, precision="32-true"):
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
