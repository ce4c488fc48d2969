"""What tests of the networks share."""

import torch
import torch.nn.functional as F
from torch import nn


def shaken(model):
    """Move the normalizations away from one and zero, and set the model to evaluation."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def smooth_images(number, seed=0, size=(96, 96)):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(number, 3, 6, 6, generator=generator)
    return F.interpolate(coarse, size, mode="bilinear")
