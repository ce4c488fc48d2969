"""What changed between two graphs, and the overlap, against sets: equal and different grids."""

from itertools import chain

import pytest
import torch
from torch_geometric.data import Data

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.graphs import neighbor_changes, neighbor_overlap
from pyg_viglad.transforms import ImageToGraph
from tests.graphs.helpers import edge_lists, random_graph
from tests.oracles import graph_measures as oracle

GRIDS = [(4, 5), (3, 6)]


def assert_changes(first, second, before, after):
    """``before`` and ``after`` are the edges (neighbour, centre) of both graphs on one grid."""
    before, after = ({(n, c) for n, c in edges if n != c} for edges in (before, after))
    found = [list(map(tuple, edges.T.tolist())) for edges in neighbor_changes(first, second)]
    for edges, expected in zip(
        found, (before & after, before - after, after - before), strict=True
    ):
        assert set(edges) == expected
        assert len(edges) == len(expected)
        assert [center for _, center in edges] == sorted(center for _, center in edges)


@pytest.mark.parametrize(("k", "other_k", "loop"), [(4, 4, True), (6, 2, False), (17, 9, True)])
def test_equal_grids(k, other_k, loop):
    first, second = random_graph(GRIDS, k, 0), random_graph(GRIDS, other_k, 1, loop)
    expected = [
        oracle.overlap(a, b, rows * columns)
        for a, b, (rows, columns) in zip(edge_lists(first), edge_lists(second), GRIDS, strict=True)
    ]
    found = neighbor_overlap(first, second)
    assert found.tolist() == pytest.approx([*chain(*expected)])
    assert torch.equal(found, neighbor_overlap(second, first))
    assert_changes(first, second, first.edge_index.T.tolist(), second.edge_index.T.tolist())
    means = neighbor_overlap(first, second, per_graph=True)
    assert means.tolist() == pytest.approx([oracle.mean(values) for values in expected])


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        ([(6, 8), (4, 10)], [(3, 4), (2, 5)]),
        ([(7, 9)], [(3, 4)]),  # a patch of uneven numbers of nodes
        ([(5, 6), (5, 6)], [(5, 2), (5, 2)]),
        ([(4, 4)], [(2, 2)]),
    ],
)
@pytest.mark.parametrize("k", [3, 9])
def test_different_grids(fine, coarse, k):
    first = random_graph(fine, k, 2)
    second = random_graph(coarse, min(k, 3), 3)
    expected, read, start = [], [], 0
    for a, b, large, small in zip(edge_lists(first), edge_lists(second), fine, coarse, strict=True):
        nodes = small[0] * small[1]
        most = [len(set(n)) for n in oracle.neighbor_lists(b, nodes)]
        coarsened = oracle.coarsened(a, large, small, most)
        expected.append(oracle.overlap(coarsened, b, nodes))
        read += [(neighbor + start, center + start) for neighbor, center in coarsened]
        start += nodes
    found = neighbor_overlap(first, second)
    assert found.tolist() == pytest.approx([*chain(*expected)])
    assert torch.equal(found, neighbor_overlap(second, first))
    assert_changes(first, second, read, second.edge_index.T.tolist())
    assert_changes(second, first, second.edge_index.T.tolist(), read)
    assert 0 < float(found.mean()) < 1 or k == 9
    means = neighbor_overlap(second, first, per_graph=True)
    assert means.tolist() == pytest.approx([oracle.mean(values) for values in expected])


def test_changes_are_ordered_nearest_first_and_an_edge_counts_once():
    grid = torch.tensor([[1, 6]])
    before = Data(
        edge_index=torch.tensor([[5, 4, 1, 3], [0, 0, 2, 0]]), grid_size=grid, num_nodes=6
    )
    after = Data(
        edge_index=torch.tensor([[2, 3, 1, 4, 3, 0], [0, 0, 0, 0, 0, 0]]),
        grid_size=grid,
        num_nodes=6,
    )
    kept, lost, gained = (edges.T.tolist() for edges in neighbor_changes(before, after))
    assert (kept, lost, gained) == ([[3, 0], [4, 0]], [[5, 0], [1, 2]], [[2, 0], [1, 0]])


def test_a_graph_overlaps_with_itself_and_with_its_coarse_copy():
    """2 x 4 patches, each of 2 x 2 nodes that look where the patch looks."""
    grid = torch.tensor([[2, 4]])
    coarse = Data(
        edge_index=torch.tensor([[1, 5, 7, 0], [0, 0, 3, 6]]), grid_size=grid, num_nodes=8
    )
    edges = []
    for neighbor, center in coarse.edge_index.T.tolist():
        for dy in range(2):
            for dx in range(2):
                low, high = ((2 * (p // 4) + dy) * 8 + 2 * (p % 4) + dx for p in (neighbor, center))
                edges.append((low, high))
    fine = Data(edge_index=torch.tensor(edges).T, grid_size=2 * grid, num_nodes=32)
    assert neighbor_overlap(fine, coarse).tolist() == [1.0] * 8
    assert neighbor_overlap(fine, fine).tolist() == [1.0] * 32
    moved = fine.clone()
    moved.edge_index = fine.edge_index.flip(0)
    assert neighbor_overlap(moved, coarse).tolist() == [0, 0, 1, 0, 1, 0, 0, 0]


def test_graphs_of_the_network_and_of_the_transform():
    graphs = ViGAutoEncoder(8, image_size=96, k=5).graphs(torch.rand(2, 3, 96, 64), blocks=True)
    for name, graph in graphs.items():
        overlap = neighbor_overlap(graphs["input"], graph)
        assert overlap.shape == (min(graph.num_nodes, graphs["input"].num_nodes),), name
        assert bool(((overlap >= 0) & (overlap <= 1)).all())
    assert neighbor_overlap(graphs["input"], graphs["encoder.0"]).tolist() == [1.0] * 2 * 24 * 16
    data = ImageToGraph(patch_size=8, k=4)(torch.rand(3, 32, 32))
    assert neighbor_overlap(data, data, per_graph=True).tolist() == [1.0]


def test_errors():
    graph = random_graph([(4, 6)], 3, 0)
    with pytest.raises(ValueError, match=r"first\.edge_index of shape \[2, E\]"):
        neighbor_overlap(Data(num_nodes=3), graph)
    with pytest.raises(
        ValueError, match=r"second\.edge_index to join the nodes 0 to 1 \(got 0 to 2"
    ):
        neighbor_overlap(graph, Data(edge_index=torch.tensor([[0], [2]]), num_nodes=2))
    with pytest.raises(ValueError, match="second to have the field 'grid_size'"):
        neighbor_overlap(graph, Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(ValueError, match="as many images"):
        neighbor_overlap(graph, random_graph([(4, 6), (4, 6)], 3, 0))
    with pytest.raises(ValueError, match="as fine as the other"):
        neighbor_overlap(graph, random_graph([(6, 4)], 3, 0))
    graph.grid_size = torch.tensor([[5, 5]])
    with pytest.raises(ValueError, match=r"first\.grid_size of \[24\] nodes"):
        neighbor_overlap(graph, graph)
