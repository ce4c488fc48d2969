"""Tiny data sets: stripes in their places, and the same with a bright block."""

import torch
from torch_geometric.data import Data

SIDE = 96


class Images(list):
    """A data set of images of one kind."""

    def __init__(self, number, seed, block=False, side=SIDE):
        generator = torch.Generator().manual_seed(seed)
        stripes = (torch.arange(side) // 12 % 2).float() * 0.6 + 0.2
        items = []
        for _ in range(number):
            image = stripes.repeat(3, side, 1) + 0.02 * torch.randn(
                3, side, side, generator=generator
            )
            if block:
                image[:, 30:62, 30:62] = torch.rand(3, 32, 32, generator=generator)
            items.append(Data(img=image.clamp(0, 1)[None], num_nodes=0))
        super().__init__(items)


def normal(number, seed=0):
    return Images(number, seed)


def anomalous(number, seed=9):
    return Images(number, seed, block=True)
