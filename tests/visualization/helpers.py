"""Small graphs whose neighbours are known, and access to what a figure shows."""

import io

import numpy as np
import torch
from matplotlib.image import imread
from torch_geometric.data import Data

from tests.graphs.helpers import grid_positions


def graph(count, grid, size, k=3, loop=True):
    """Node n is joined to n (with loop), n + 1, n + 2, ... of the same image."""
    nodes = grid[0] * grid[1]
    steps = range(k) if loop else range(1, k + 1)
    edges = [
        [b * nodes + (n + step) % nodes, b * nodes + n]
        for b in range(count)
        for n in range(nodes)
        for step in steps
    ]
    return Data(
        pos=grid_positions(*grid, *size).repeat(count, 1),
        edge_index=torch.tensor(edges).T.contiguous(),
        grid_size=torch.tensor([grid] * count),
        img_size=torch.tensor([size] * count),
    )


def artists(container, gid):
    return container.findobj(lambda artist: artist.get_gid() == gid)


def one(container, gid):
    (artist,) = artists(container, gid)
    return artist


def assert_inside(figure):
    """Nothing that is drawn leaves the figure."""
    box = figure.get_tightbbox()  # in inches
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def render(figure):
    """The figure as PNG pixels, proof that every artist can be drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    pixels = imread(buffer)
    assert np.isfinite(pixels).all()
    return pixels
