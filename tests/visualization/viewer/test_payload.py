"""What a viewer's page carries is what was recorded, compact, whole and harmless."""

import base64
import gzip
import html
import json
import re
import sys

import numpy as np
import pytest
import torch

from pyg_viglad import ViGAutoEncoder, ViGLAD
from pyg_viglad.graphs import most_anomalous_node, record_graphs, select_graphs
from pyg_viglad.visualization import GraphViewer
from pyg_viglad.visualization.viewer.payload import (
    data_url,
    map_scales,
    pack_graph,
    pack_maps,
)


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 60, 84, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def graphs(image):
    torch.manual_seed(0)
    return record_graphs(ViGAutoEncoder(8, image_size=64, k=5), image)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, k=6, node_scorer={"channels": 5})
    model.fit_statistics(torch.rand(4, 3, 96, 96), torch.rand(3, 3, 96, 96))
    return model


def page_payload(page):
    """The payload as a browser finds it: arrays from base64, maps from their entries."""
    (text,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)

    def decode(value):
        if isinstance(value, list):
            return [decode(item) for item in value]
        if isinstance(value, dict) and value.get("type") == "map":
            return {key: decode(item) for key, item in value.get("entries", [])}
        if isinstance(value, dict) and value.get("type") == "ndarray":
            raw = base64.b64decode(value["array"]["data"])
            raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            return np.frombuffer(raw, value["dtype"]).reshape(value["shape"])
        return value

    def find(value):
        if isinstance(value, dict):
            if value.get("name") == "CustomJS" and "attributes" in value:
                yield value["attributes"]["args"]
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from find(item)

    (args,) = find(json.loads(html.unescape(text)))
    return decode(dict(args["entries"])["payload"])


def test_the_page_holds_the_recorded_graphs(image, graphs):
    payload = page_payload(GraphViewer(image, graphs).to_html())
    assert (payload["height"], payload["width"]) == (60, 84)
    assert [graph["name"] for graph in payload["graphs"]] == list(graphs)
    for packed, graph in zip(payload["graphs"], graphs.values(), strict=True):
        centres = np.repeat(np.arange(graph.num_nodes), packed["degrees"])
        edges = np.stack([packed["sources"].astype(int), centres])
        assert np.array_equal(edges, graph.edge_index.numpy())
        distances = packed["distances"] * packed["unit"]
        assert np.allclose(distances, graph.distance, atol=float(graph.distance.max()) / 65535)
        rows, columns = graph.grid_size[0].tolist()
        assert (packed["rows"], packed["columns"]) == (rows, columns)
        row, column = np.divmod(np.arange(graph.num_nodes), columns)
        pos = np.stack([(column + 0.5) * 84 / columns, (row + 0.5) * 60 / rows], axis=1)
        assert np.allclose(pos, graph.pos, atol=1e-3)


@pytest.mark.parametrize("name", ["adaptive", "axial"])
def test_the_page_holds_other_numbers_of_neighbours(image, name):
    graphs = record_graphs(ViGAutoEncoder(8, image_size=64, k=5, graph=name), image)
    payload = page_payload(GraphViewer(image, graphs).to_html())
    most = 0
    for packed, graph in zip(payload["graphs"], graphs.values(), strict=True):
        degrees = torch.bincount(graph.edge_index[1])
        most = max(most, int(degrees.max()) - 1)
        assert np.array_equal(packed["degrees"], degrees)
        assert np.array_equal(packed["sources"], graph.edge_index[0])
    assert payload["neighbors"] == most


def test_edges_in_any_order_keep_their_ranks(image, graphs):
    """Grouped by centre, and within a centre in the order they came in."""
    graph = graphs["decoder"][0]
    order = torch.argsort(graph.edge_index[1] % 7, stable=True)
    graph.edge_index, graph.distance = graph.edge_index[:, order], graph.distance[order]
    packed = pack_graph(graph, "graph")
    assert np.array_equal(packed["sources"], graphs["decoder"].edge_index[0])


def test_every_map_on_its_own_scale(model, image):
    """Calibrated maps on 0 to 0.5, marked at 0.1; A_n in standard deviations on 0 to 6, marked at 3."""
    scales = map_scales(None, (0.9, 0.995))
    payload = page_payload(GraphViewer.from_model(model, image).to_html())
    for key, scale in payload["scales"].items():
        of_nodes = key == "node_score"
        assert scale["limits"] == ([0, 6] if of_nodes else [0, 0.5])
        assert scale["mark"] == (3 if of_nodes else 0.1)
        assert ("\N{GREEK SMALL LETTER SIGMA}" in scale["unit"]) == of_nodes
        assert ("calibrated" in scale["title"]) == (not of_nodes)
    assert map_scales(0.3, (0.9, 0.995))["local_score"]["mark"] == 0.3
    assert map_scales(0.3, (0.9, 0.995))["node_score"]["mark"] == 3
    prediction = model.predict(image)
    values = torch.linspace(-1, 7, 96 * 96).view(1, 96, 96)
    maps = pack_maps(prediction._replace(node_map=values, local_map=values), 0, None, scales)
    for key, high in (("node_score", 6), ("local_score", 0.5)):
        expected = (255 * (values[0] / high).clamp(0, 1)).round()
        assert np.abs(maps[key] - expected.numpy()).max() <= 1


def test_scores_are_sent_once_a_grid(model, image):
    graphs = record_graphs(model, image)
    payload = page_payload(GraphViewer(image, graphs).to_html())
    grids = {tuple(graph.grid_size[0].tolist()) for graph in graphs.values()}
    assert len(payload["scores"]) == len(grids)
    for packed in payload["graphs"]:
        for key, values in payload["scores"][packed["scores"]].items():
            assert np.array_equal(values, graphs[packed["name"]][key])


def test_starts_at_the_most_anomalous_patch_and_the_selected_graphs(model, image):
    graphs = record_graphs(model, image)
    payload = page_payload(GraphViewer.from_model(model, image).to_html())
    x, y = (model.predict(image).position[0] * torch.tensor([84 / 96, 60 / 96])).tolist()
    assert (payload["start"]["x"], payload["start"]["y"]) == pytest.approx((x, y))
    node = most_anomalous_node(graphs["input"])
    worst, scores = graphs["input"].pos[node], graphs["input"].node_score
    assert scores[node] == scores.max()
    assert (worst - torch.tensor([x, y])).abs().max() <= 84 / 16 / 2 + 1e-3
    alone = page_payload(GraphViewer(image, graphs).to_html())["start"]
    assert (alone["x"], alone["y"]) == pytest.approx(worst.tolist(), abs=1e-3)
    names = [f"{part}.{n}" for part in ("encoder", "decoder") for n in range(12)]
    chosen = list(select_graphs(graphs))[1]
    number = 12 if chosen == "encoder" else int(chosen.split(".")[1])
    assert alone["block"] == {"input": 0, "encoder": number, "decoder": 12}
    assert set(names) < set(graphs)


def test_an_image_with_a_gradient(image, graphs):
    learned = image.clone().requires_grad_()
    page = GraphViewer(learned, graphs).to_html()
    assert data_url(image.permute(1, 2, 0).numpy()) in page


def test_start_at_a_node_or_a_position(image, graphs):
    pos = graphs["input"].pos[25].tolist()
    for node, expected in ((np.int64(25), pos), (torch.tensor([80, 3.5]), [80.0, 3.5])):
        start = page_payload(GraphViewer(image, graphs, node=node).to_html())["start"]
        assert [start["x"], start["y"]] == pytest.approx(expected)


def test_fewer_graphs_and_one_image_of_several(image, graphs):
    chosen = select_graphs(graphs)
    payload = page_payload(GraphViewer(image, chosen).to_html())
    assert [g["part"] for g in payload["graphs"]] == ["input", "encoder", "decoder"]
    two = torch.stack([image, image.flip(2)])
    both = record_graphs(ViGAutoEncoder(8, image_size=64, k=5), two)
    payload = page_payload(GraphViewer(two[1], both, number=1).to_html())
    for packed in payload["graphs"]:
        edges = both[packed["name"]][1].edge_index
        assert np.array_equal(packed["sources"], edges[0])
    with pytest.raises(ValueError, match=r"graphs\['input'\] to be of one image \(got 2\)"):
        GraphViewer(image, both)
    with pytest.raises(ValueError, match=r"an image of graphs\['input'\] from 0 to 1 \(got 2\)"):
        GraphViewer(image, both, number=2)


def test_a_page_of_the_largest_demo_stays_small(tmp_path):
    """256 pixels: the graph branch sees 224, so 56 x 56 nodes with 12 neighbours, 27 graphs."""
    noise = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    recorded = record_graphs(ViGAutoEncoder(8, image_size=224), noise[:, :224, :224])
    graphs = {name: batch[0] for name, batch in recorded.items()}
    assert len(graphs) == 27
    assert graphs["input"].num_nodes == 56 * 56
    for graph in graphs.values():
        generator = torch.Generator().manual_seed(0)
        for key in ("local_score", "global_score", "combined_score", "node_score"):
            graph[key] = torch.rand(graph.num_nodes, generator=generator)
    path = GraphViewer(noise[:, :224, :224], graphs, mask=torch.ones(224, 224)).save(
        tmp_path / "a.html"
    )
    assert path.stat().st_size < 5e6
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_titles_are_text(image, graphs):
    title = "</script><script>alert(1)</script> $$x$$"
    page = GraphViewer(image, graphs, title=title).to_html()
    assert "<script>alert(1)" not in page
    assert "MathJax.js" not in page
    assert page.count(html.escape(title)) == 2


def test_large_pictures_are_reduced_for_show():
    """A photograph of noise, the worst case, becomes a JPEG of at most 2048 pixels."""
    picture = np.random.default_rng(0).random((900, 2500, 3))
    assert data_url(picture).startswith("data:image/jpeg;base64,")
    assert len(data_url(picture)) < 3e6
    assert data_url(picture[:60, :80]).startswith("data:image/png;base64,")


def test_without_bokeh(image, graphs, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(ImportError, match=r"pip install 'pyg-viglad\[viewer\]'"):
        GraphViewer(image, graphs)


def test_errors(image, graphs, tmp_path):
    with pytest.raises(ValueError, match="Expected a graph of the part 'encoder'"):
        GraphViewer(image, {"input": graphs["input"], "decoder": graphs["decoder"]})
    with pytest.raises(ValueError, match=r"Expected names that start with input.*'other'"):
        GraphViewer(image, {**graphs, "other": graphs["input"]})
    with pytest.raises(ValueError, match="Expected node to be from 0 to"):
        GraphViewer(image, graphs, node=10**6)
    with pytest.raises(ValueError, match="Expected node inside the image of 84 x 60 pixels"):
        GraphViewer(image, graphs, node=(85.0, 3.0))
    with pytest.raises(ValueError, match="Expected node as a number or a position"):
        GraphViewer(image, graphs, node=(85.0, 3.0, 1.0))
    with pytest.raises(ValueError, match="Expected mask"):
        GraphViewer(image, graphs, mask=torch.zeros(2, 2, 2))
    moved = graphs["input"].clone()
    moved.pos = moved.pos + 2
    with pytest.raises(ValueError, match=r"Expected graphs\['input'\].pos on a grid"):
        GraphViewer(image, {**graphs, "input": moved})
    with pytest.raises(FileNotFoundError, match="existing folder"):
        GraphViewer(image, graphs).save(tmp_path / "none" / "a.html")
    with pytest.raises(ValueError, match="Expected a notebook"):
        GraphViewer(image, graphs).show()
