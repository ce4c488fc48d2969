"""Random graphs of patches, and the edges of each image as the oracles take them."""

import torch
from torch_geometric.data import Batch, Data


def grid_positions(rows, columns, height, width):
    """Patch centres [N, 2] (x right, y down)."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    size = torch.tensor([width / columns, height / rows])
    return (torch.stack([x, y], dim=-1).view(-1, 2) + 0.5) * size


def random_graph(grids, k, seed, loop=True, size=(90, 120), channels=5):
    """A graph an image, of its grid: k different random neighbours a node, itself first with loop."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for rows, columns in grids:
        nodes = rows * columns
        edges = []
        for center in range(nodes):
            others = [n for n in torch.randperm(nodes, generator=generator).tolist() if n != center]
            edges += [(n, center) for n in ([center] if loop else []) + others[:k]]
        graphs.append(
            Data(
                x=torch.randn(nodes, channels, generator=generator),
                edge_index=torch.tensor(edges).T.contiguous(),
                pos=grid_positions(rows, columns, *size),
                grid_size=torch.tensor([[rows, columns]]),
                img_size=torch.tensor([size]),
            )
        )
    return Batch.from_data_list(graphs)


def edge_lists(graph):
    """For each image its edges (neighbour, centre), nodes numbered from 0."""
    return [part.edge_index.T.tolist() for part in graph.to_data_list()]
