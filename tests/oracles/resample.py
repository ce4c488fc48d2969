"""Resampling of maps ``[B, C, H, W]`` one position at a time, from the formulas."""

import torch
from torch import Tensor


def convolve(maps: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """3 x 3 convolution, padding 1; ``weight`` is ``[out, in, 3, 3]``."""
    images, _, rows, columns = maps.shape
    found = {}
    for row in range(0, rows, stride):
        for column in range(0, columns, stride):
            value = bias.expand(images, -1)
            for i in range(3):
                for j in range(3):
                    r, c = row + i - 1, column + j - 1
                    if 0 <= r < rows and 0 <= c < columns:
                        value = value + maps[:, :, r, c] @ weight[:, :, i, j].t()
            found[row // stride, column // stride] = value
    return to_maps(found)


def upsample(
    maps: Tensor, weight: Tensor, bias: Tensor, mode: str, output_size: tuple[int, int]
) -> Tensor:
    """Doubles maps, and leaves out what lies beyond ``output_size``.

    Input (r, c) of a transposed convolution adds its product with the kernel's entry (i, j) to output
    (2r + i - 1, 2c + j - 1); ``weight`` is ``[in, out, k, k]`` there.
    """
    images, _, rows, columns = maps.shape
    doubled = [(row, column) for row in range(2 * rows) for column in range(2 * columns)]
    if mode.startswith("transposed"):
        found = {place: bias.expand(images, -1) for place in doubled}
        for r in range(rows):
            for c in range(columns):
                for i in range(weight.size(2)):
                    for j in range(weight.size(3)):
                        place = (2 * r + i - 1, 2 * c + j - 1)
                        if place in found:
                            found[place] = found[place] + maps[:, :, r, c] @ weight[:, :, i, j]
    else:
        weigh = {"nearest": nearest, "bilinear": linear}[mode]
        resized = {}
        for row, column in doubled:
            resized[row, column] = sum(
                u * v * maps[:, :, r, c]
                for r, u in weigh(row, rows).items()
                for c, v in weigh(column, columns).items()
            )
        whole = convolve(to_maps(resized), weight, bias)
        found = {(row, column): whole[:, :, row, column] for row, column in doubled}
    return to_maps(
        {p: v for p, v in found.items() if p[0] < output_size[0] and p[1] < output_size[1]}
    )


def nearest(place: int, size: int) -> dict[int, float]:
    """Weights of the inputs of a place in twice the ``size``: the input in whose half it lies."""
    return {place // 2: 1.0}


def linear(place: int, size: int) -> dict[int, float]:
    """Likewise, where place p has its centre at (p + 1/2) / 2 - 1/2, and the border goes on outside."""
    near, far = place // 2, place // 2 + (1 if place % 2 else -1)
    weights = {near: 0.75}
    far = min(max(far, 0), size - 1)
    weights[far] = weights.get(far, 0.0) + 0.25
    return weights


def to_maps(values: dict[tuple[int, int], Tensor]) -> Tensor:
    """Puts the values ``[B, C]`` of all places together."""
    rows, columns = (1 + max(place[dim] for place in values) for dim in (0, 1))
    return torch.stack(
        [torch.stack([values[row, c] for c in range(columns)], dim=-1) for row in range(rows)],
        dim=-2,
    )
