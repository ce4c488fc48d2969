"""Sampling of a backbone's map where a PDN looks, one cell at a time."""

import math

import torch
from torch import Tensor


def sample_cells(features: Tensor, stride: float, scale: float, height: int, width: int) -> Tensor:
    """Samples a map ``[C, rows, columns]`` of an image ``height x width`` that was enlarged ``scale`` times.

    Cell (i, j) of the result looks at pixel (4i + 16.5, 4j + 16.5); cell k of the map is centred at
    (k + 0.5) stride / scale. Between centres the values are linear, beyond the outermost constant.
    """
    size = [(side - 32) // 4 for side in (height, width)]
    result = torch.zeros(features.size(0), *size)
    for i in range(size[0]):
        for j in range(size[1]):
            for row, row_weight in _weights(4 * i + 16.5, stride / scale, features.size(1)):
                for column, weight in _weights(4 * j + 16.5, stride / scale, features.size(2)):
                    result[:, i, j] += row_weight * weight * features[:, row, column]
    return result


def _weights(pixel: float, step: float, cells: int) -> list[tuple[int, float]]:
    """The two cells whose centres enclose a pixel, and their weights."""
    place = pixel / step - 0.5
    before = math.floor(place)
    share = place - before
    inside = [min(max(cell, 0), cells - 1) for cell in (before, before + 1)]
    return [(inside[0], 1 - share), (inside[1], share)]
