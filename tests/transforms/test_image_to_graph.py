import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform, Compose
from torch_geometric.utils import to_networkx

from pyg_viglad.graphs import graph_of_image
from pyg_viglad.nn import GRAPHS, KNN, knn_graph, make_graph, nearest_first
from pyg_viglad.transforms import ImageToGraph, to_batch


@pytest.fixture
def image():
    torch.manual_seed(0)
    return torch.rand(3, 8, 12)


def test_fields(image):
    data = ImageToGraph(patch_size=4, k=3)(image)
    assert sorted(data.keys()) == ["edge_index", "grid_size", "img", "pos", "x"]
    assert data.grid_size.tolist() == [[2, 3]]
    assert torch.equal(data.img, image[None])
    assert data.validate()
    assert data.num_nodes == 6
    # Node 4 is row 1, column 1: its centre lies 6 pixels to the right and 6 down.
    assert data.pos.tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]
    for node, (x, y) in enumerate(data.pos.int().tolist()):
        patch = image[:, y - 2 : y + 2, x - 2 : x + 2]
        assert torch.equal(data.x[node], patch.flatten())


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("cosine", [True, False])
def test_edges_are_the_nearest_patches(image, loop, cosine):
    data = ImageToGraph(patch_size=2, k=4, dilation=2, loop=loop, cosine=cosine)(image)
    expected = knn_graph(data.x, 4, dilation=2, loop=loop, cosine=cosine)
    assert torch.equal(data.edge_index, expected)


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"knn", "hypergraph"}))
def test_other_graphs(image, name):
    transform = ImageToGraph(patch_size=2, k=4, dilation=2, graph=name)
    data = transform(image)
    edges = make_graph(name, 4, 2)(data.x, 1, (4, 6))
    assert torch.equal(data.edge_index, nearest_first(data.x, edges))
    assert f"graph={make_graph(name, 4, 2)})" in repr(transform)
    batch = Batch.from_data_list([data, transform(image.flip(2))])
    assert torch.equal(batch[0].edge_index, data.edge_index)
    assert to_networkx(data).number_of_edges() == edges.size(1)


def test_graph_by_instance(image):
    transform = ImageToGraph(patch_size=2, k=4, graph=KNN(3, 2))
    assert "k=3, dilation=2" in repr(transform)  # PyG recognises what it has stored by this
    knn = transform(image)
    assert torch.equal(knn.edge_index, knn_graph(knn.x, 3, dilation=2, loop=True, cosine=True))
    options = {"graph": "window", "graph_kwargs": {"size": 2}}
    assert ImageToGraph(patch_size=2, k=4, **options)(image).num_edges == 24 * 4


def test_all_kinds_of_images_give_the_same_graph(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(array).save(path)
    transform = ImageToGraph(k=3)
    expected = transform(array)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for value in (Image.fromarray(array), str(path), path, tensor, Data(img=tensor[None])):
        data = transform(value)
        assert torch.equal(data.x, expected.x)
        assert torch.equal(data.edge_index, expected.edge_index)


@pytest.mark.parametrize("value", [torch.rand(8, 12), torch.rand(1, 8, 12), np.zeros((8, 12))])
def test_gray_images(value):
    data = ImageToGraph(k=3)(value)
    assert data.x.shape == (6, 48)
    assert data.img.shape == (1, 3, 8, 12)


def test_data_keeps_its_other_fields_and_is_not_changed(image):
    data = Data(img=image[None], y=torch.tensor([1]), kind="logical")
    graph = ImageToGraph(k=3)(data)
    assert graph.y.tolist() == [1]
    assert graph.kind == "logical"
    assert "x" not in data


def test_batches(image):
    transform = ImageToGraph(k=3)
    graphs = [transform(image), transform(image.flip(1))]
    batch = Batch.from_data_list(graphs)
    assert batch.img.shape == (2, 3, 8, 12)
    assert batch.grid_size.shape == (2, 2)
    assert torch.equal(batch[1].edge_index, graphs[1].edge_index)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_several_sizes_batch(workers):
    graphs = [ImageToGraph(4, 3)(torch.rand(3, height, 16)) for height in (8, 16)]
    (batch,) = DataLoader(graphs, 2, num_workers=workers)
    assert [image.shape for image in batch.img] == [(1, 3, 8, 16), (1, 3, 16, 16)]
    assert {type(image) for image in batch.img} == {torch.Tensor}
    for number, graph in enumerate(graphs):
        for key in ("x", "pos", "edge_index", "grid_size", "img"):
            assert torch.equal(batch[number][key], graph[key])
        assert torch.equal(graph_of_image(batch, number).img, graph.img)
        assert graph_of_image(batch, number).img_size.tolist() == [list(graph.img.shape[2:])]
    expected = torch.cat([to_batch(graph, (8, 12)) for graph in graphs])
    assert torch.equal(to_batch(batch, (8, 12)), expected)
    with pytest.raises(ValueError, match=r"of one size \(got \[\(8, 16\), \(16, 16\)\]\)"):
        to_batch(batch)
    (equal,) = DataLoader(graphs[:1] * 2, 2, num_workers=workers)
    assert equal.img.shape == (2, 3, 8, 16)


def test_copies_of_graphs_batch_as_the_graphs_do(tmp_path):
    graphs = [ImageToGraph(4, 3)(torch.rand(3, height, 16)) for height in (8, 16)]
    torch.save([graph.img for graph in graphs], tmp_path / "images.pt")
    loaded = torch.load(tmp_path / "images.pt", weights_only=True)
    saved = [Data(img=image, x=graph.x) for image, graph in zip(loaded, graphs, strict=True)]
    for copied in (
        saved,
        copy.deepcopy(graphs),
        pickle.loads(pickle.dumps(graphs)),
        [graph.clone() for graph in graphs],
        [graph.to("cpu", torch.float64) for graph in graphs],
    ):
        assert len(Batch.from_data_list(copied).img) == 2
    compiled = torch.compile(
        lambda graph: 2 * to_batch(graph, normalized=True), fullgraph=True, backend="eager"
    )
    for value in (graphs[0].img[0], 2 * graphs[0].img, to_batch(graphs[0]), compiled(graphs[0])):
        assert type(value) is torch.Tensor


def test_networkx(image):
    graph = to_networkx(ImageToGraph(k=3)(image), node_attrs=["pos"])
    assert graph.number_of_nodes() == 6
    assert graph.number_of_edges() == 18


def test_constant_image():
    data = ImageToGraph(k=3)(torch.zeros(3, 8, 12))
    assert data.edge_index[0].view(6, 3).tolist()[4] == [4, 0, 1]


def test_is_a_pyg_transform_with_a_complete_repr(image):
    transform = ImageToGraph(patch_size=2, k=5, dilation=2, loop=False, cosine=False)
    text = "ImageToGraph(patch_size=2, k=5, dilation=2, loop=False, cosine=False)"
    assert repr(transform) == text
    assert isinstance(transform, BaseTransform)
    assert Compose([transform])(image).num_nodes == 24


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda image: ImageToGraph(patch_size=5)(image), r"patch_size = 5 \(got 8 x 12\)"),
        (lambda image: ImageToGraph(k=7)(image), r"k = 7 .*got 6\)"),
        (lambda image: ImageToGraph(k=6, loop=False)(image), r"k = 6 .*got 5\)"),
        (lambda image: ImageToGraph()(Data(x=image[0])), r"'img' \(got the fields \['x'\]\)"),
        (lambda image: ImageToGraph(patch_size=0), "'patch_size' to be at least 1"),
        (lambda image: ImageToGraph(k=0), "'k' to be at least 1"),
        (lambda image: ImageToGraph(dilation=0), "'dilation' to be at least 1"),
        (lambda image: ImageToGraph()(3), "got int"),
        (lambda image: ImageToGraph(graph="magic"), "'graph' to be one of"),
        (lambda image: ImageToGraph(graph="hypergraph"), "graph of edges .*'hypergraph': see"),
        (
            lambda image: ImageToGraph(graph="grid", cosine=False),
            "with graph 'grid' .*cosine=False",
        ),
        (lambda image: ImageToGraph(graph="grid", loop=False), "with graph 'grid' .*loop=False"),
    ],
)
def test_bad_input(image, make, match):
    with pytest.raises(ValueError, match=match):
        make(image)
