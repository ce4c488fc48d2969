import pytest
import torch

from pyg_viglad.nn import KNN, ConvViG, knn_graph, make_graph


def ring(x, batch_size, grid_size):
    """A user's own builder: each node with itself and the one before it, in one ring for all."""
    nodes = torch.arange(x.size(0), device=x.device)
    return torch.stack(
        [torch.stack([nodes, nodes.roll(1)], 1).flatten(), nodes.repeat_interleave(2)]
    )


def test_knn_is_knn_graph():
    x = torch.randn(20, 4)
    expected = knn_graph(x, 3, loop=True, cosine=True, batch_size=2, dilation=2)
    assert torch.equal(make_graph("knn", 3, 2)(x, 2, None), expected)
    assert KNN(9)(x[:4], 1).size(1) == 4 * 4


def test_name_class_and_instance():
    assert make_graph("knn", 3, 2) == make_graph(KNN, 3, 2) == make_graph(KNN(3, 2), 9)
    assert make_graph(ring, 3) is ring
    for wrong, kwargs in (("nearest", None), (3, None), (ring, {"k": 2}), ("knn", {"side": 2})):
        with pytest.raises(ValueError, match=r"Expected.*got"):
            make_graph(wrong, 3, graph_kwargs=kwargs)
    with pytest.raises(ValueError, match="'k' to be at least 1"):
        make_graph("knn", 0)


def test_own_builder_in_a_block():
    block, x = ConvViG(8, k=3, graph=ring).eval(), torch.randn(12, 8)
    out, edge_index = block(x, batch_size=2, return_edge_index=True)
    assert torch.equal(edge_index, ring(x, 2, None))
    assert torch.equal(out, block(x, ring(x, 2, None)))
    with pytest.raises(ValueError, match="Expected graph 'knn' with reduce_ratio"):
        ConvViG(8, k=3, graph=ring, reduce_ratio=2)
