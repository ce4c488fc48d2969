"""The scores of nodes against loops, and the whole study on a few images."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.data import Batch, Data

from benchmarks.studies.neighbor_overlap import (
    Measured,
    changes,
    image_rows,
    main,
    measure,
    node_rows,
    same_place,
    similarity_correlation,
)
from pyg_viglad import ViGLAD
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.graphs import record_graphs
from pyg_viglad.nn import knn_graph
from tests.oracles.auroc import auroc

GRID = (3, 4)


def graphs(channels, seed):
    """Graphs of two images of 3 x 4 nodes, 3 neighbours each."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for _ in range(2):
        x = torch.randn(12, channels, generator=generator)
        edges = knn_graph(x, 4, loop=True, cosine=True)
        parts.append(Data(x=x, edge_index=edges, grid_size=torch.tensor([GRID])))
    return Batch.from_data_list(parts)


def neighbors(graph, node):
    edges = graph.edge_index.T.tolist()
    return {j for j, i in edges if i == node and j != node}


def cosine(x, i, j):
    return float(torch.cosine_similarity(x[i].double(), x[j].double(), dim=0))


def test_changes_equal_loops():
    first, second = graphs(5, 0), graphs(7, 1)
    found = changes(first, second)
    for node in range(24):
        a, b = neighbors(first, node), neighbors(second, node)
        assert found["1 - overlap"][node] == pytest.approx(1 - len(a & b) / len(a | b))
        # The edges that both have cancel out: what is left are the new and the lost ones.
        for name, x, own, other in (
            ("new edges", first.x, a, b),
            ("lost edges", second.x, b, a),
        ):
            near = sum(cosine(x, node, j) for j in own - other)
            far = sum(cosine(x, node, j) for j in other - own)
            assert found[name][node] == pytest.approx((near - far) / 3, abs=1e-5)
            assert found[name][node] > -1e-5
        image = range(12 * (node // 12), 12 * (node // 12) + 12)
        rows = [[cosine(graph.x, node, j) for j in image] for graph in (first, second)]
        correlation = np.corrcoef(rows)[0, 1]
        assert found["1 - correlation"][node] == pytest.approx(1 - correlation, abs=1e-5)
    assert all(values.abs().max() < 1e-5 for values in changes(first, first).values())


def test_correlation_of_equal_nodes_is_zero():
    graph = graphs(5, 0)
    constant = graph.clone()
    constant.x = torch.ones(24, 2)
    assert similarity_correlation(graph, constant).abs().max() < 1e-6


def test_same_place_is_the_parity_of_row_and_column():
    graph = graphs(5, 0)
    for node in range(24):
        row, column = divmod(node % 12, 4)
        same = [
            (j % 12 // 4 - row) % 2 == 0 and (j % 4 - column) % 2 == 0
            for j in neighbors(graph, node)
        ]
        assert same_place(graph)[node] == pytest.approx(np.mean(same))


def test_aurocs_by_kind():
    rng = np.random.default_rng(0)
    values, wrong = rng.integers(0, 9, (5, 6)), rng.random((5, 6)) < 0.4
    defects = np.array(["", "bent", "", "cut", "cut"])
    wrong[defects == ""] = False
    kinds = {"good": defects == "", "cut": defects == "cut", "all": defects != ""}
    found = Measured({}, {"a": values}, {"a": values[:, 0]}, wrong, kinds)
    for kind, images in (("cut", [3, 4]), ("all", [1, 3, 4])):
        rows = image_rows(found).set_index("kind").value
        assert rows[kind] == pytest.approx(auroc(values[[0, 2], 0], values[images, 0]))
        inside = np.concatenate([values[i][wrong[i]] for i in images])
        same = np.concatenate([values[i][~wrong[i]] for i in images])
        for good, others in ((True, values[[0, 2]].ravel()), (False, same)):
            rows = node_rows(found, good).set_index("kind").value
            assert rows[kind] == pytest.approx(auroc(others, inside))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, k=5, node_scorer={"channels": 5}).eval()
    model.fit_statistics(torch.rand(4, 3, 96, 96), torch.rand(3, 3, 96, 96))
    return model


def test_wrong_nodes_lie_in_the_wrong_cell(model):
    test = DigitAnatomy("test", num_test_good=1, num_test_anomalous=1, defects=("missing",))
    found = measure(model, test, 2)
    assert found.wrong[0].sum() == 0
    graph = record_graphs(model, test[1].img)["input"]
    row, column = np.argwhere(test.digits[1].view(3, 3).numpy() == -1)[0]
    cell = (graph.pos // 32).long()
    assert (found.wrong[1] == ((cell[:, 0] == column) & (cell[:, 1] == row)).numpy()).all()
    assert found.wrong[1].any()
    assert found.nodes["model: node score"][1] == pytest.approx(graph.node_score.numpy(), rel=1e-4)
    assert all(values.shape == (2, 256) for values in found.nodes.values())
    assert all(values.shape == (2,) for values in found.images.values())
    name = "output, student: 1 - overlap"
    maps = found.nodes[name].reshape(2, 16, 16)
    windows = [maps[:, r : r + 5, c : c + 5].mean((1, 2)) for r in range(12) for c in range(12)]
    assert found.images[f"{name}, window"] == pytest.approx(np.max(windows, axis=0))
    assert found.images[f"{name}, mean"] == pytest.approx(maps.mean((1, 2)))


def shown_tables(text):
    return [
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]


def test_two_models_on_digits(model, tmp_path, capsys):
    for name in ("a", "b"):
        model.save_pretrained(tmp_path / name)
    options = '{"num_train": 2, "num_val": 2, "num_test_good": 2, "num_test_anomalous": 4}'
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--reseed", "--options", options])
    shown = capsys.readouterr().out
    assert "2 trained model(s), 6 test images of digits" in shown
    assert "nan" not in shown
    tables = shown_tables(shown)
    assert len(tables) == 5
    kinds = ["disorder", "flip", "missing", "novel", "logical", "structural", "all"]
    assert [table[0] for table in tables[1:]] == [
        ["score", "good", *kinds],
        *[["score", *kinds]] * 3,
    ]
    assert all(" ± " in cell for table in tables for row in table[2:] for cell in row[1:])
    assert tables[3] != tables[4]


def test_an_untrained_model_on_a_folder_without_masks(model, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder, number in (("train/good", 12), ("test/good", 2), ("test/bent", 2)):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for place in range(number):
            pixels = rng.integers(0, 256, (100, 110, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / folder / f"{place}.png")
    model.save_pretrained(tmp_path / "model")
    main([str(tmp_path / "model"), "--data", str(tmp_path / "images"), "--untrained"])
    shown = capsys.readouterr().out
    assert "1 untrained model(s), 4 test images" in shown
    tables = shown_tables(shown)
    assert len(tables) == 3
    assert tables[2][0] == ["score", "bent", "all"]
