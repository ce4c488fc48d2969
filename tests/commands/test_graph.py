"""The command ``graph``, as a user runs it, on an image of another size and shape than the model's."""

import csv
import json
import sys

import networkx
import numpy as np
import pytest
import torch
import yaml
from matplotlib.image import imread
from PIL import Image

from pyg_viglad import ViGLAD
from pyg_viglad.cli import main
from pyg_viglad.graphs import SCORES, edge_length, neighbor_overlap, node_at, record_graphs

HEIGHT, WIDTH = 60, 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder with ``model`` inside, and an image."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    model = ViGLAD("small", (96, 128), k=5, node_scorer={"channels": 5})
    model.fit_statistics(torch.rand(4, 3, 96, 128), torch.rand(3, 3, 96, 128))
    model.save_pretrained(folder / "model")
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return ViGLAD.from_pretrained(folder / "model")


@pytest.fixture(scope="module")
def run(folder):
    """What the command leaves with every flag but the viewer's."""
    output = folder / "graph"
    image, model = str(folder / "image.png"), str(folder)
    main(["graph", image, "--model", model, "--graphml", "--json", "--output", str(output)])
    return output


def test_files(run):
    names = ("input", "encoder.11", "decoder")
    expected = {"config.yaml", "lock", "metrics.json", "node_scores.csv"}
    expected |= {"node_graphs.png", "node_graphs.pdf"}
    expected |= {f"{name}.{suffix}" for name in names for suffix in ("graphml", "json")}
    assert {path.name for path in run.iterdir()} == expected
    picture = imread(run / "node_graphs.png")
    assert picture.std() > 0.05
    assert picture.shape[1] > 3 * picture.shape[0]  # three panels of a wide image
    pdf = (run / "node_graphs.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")


def test_default_node_is_the_most_anomalous(run, folder, model):
    node = json.loads((run / "metrics.json").read_text())["node"]
    x, y = model.predict(folder / "image.png").position[0].tolist()
    assert (node["x"], node["y"]) == pytest.approx((x * WIDTH / 128, y * HEIGHT / 96))
    graph = record_graphs(model, folder / "image.png")["input"]
    assert graph.node_score[node["number"]] == graph.node_score.max()


def test_scores_of_every_node(run, folder, model):
    rows = list(csv.DictReader((run / "node_scores.csv").open()))
    graphs = record_graphs(model, folder / "image.png")
    for name in ("input", "encoder.11", "decoder"):
        graph = graphs[name]
        mine = [row for row in rows if row["graph"] == name]
        assert [int(row["node"]) for row in mine] == list(range(graph.num_nodes))
        overlap = neighbor_overlap(graphs["input"], graph)
        for column, values in (
            *((score, graph[score]) for score in SCORES),
            ("x", graph.pos[:, 0]),
            ("y", graph.pos[:, 1]),
            ("overlap", overlap),
            ("edge_length", edge_length(graph)),
        ):
            found = [float(row[column]) for row in mine]
            assert found == pytest.approx(values.tolist(), rel=1e-4, abs=1e-4), column
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics["graphs"]) == ["input", "encoder.11", "decoder"]
    assert metrics["graphs"]["input"]["overlap"] == 1
    assert metrics["graphs"]["decoder"]["overlap"] == pytest.approx(float(overlap.mean()))
    assert metrics["score"] == pytest.approx(float(model.predict(folder / "image.png").score))


@pytest.mark.parametrize("name", ["input", "encoder.11", "decoder"])
def test_exported_graphs(run, folder, model, name):
    graph = record_graphs(model, folder / "image.png")[name]
    edges = set(map(tuple, graph.edge_index.T.tolist()))
    from_xml = networkx.read_graphml(run / f"{name}.graphml", node_type=int)
    from_json = networkx.node_link_graph(
        json.loads((run / f"{name}.json").read_text()), edges="edges"
    )
    for network in (from_xml, from_json):
        assert set(network.edges) == edges
        assert {"x", "y", "overlap", "in_degree", *SCORES} <= set(network.nodes[0])
        assert set(network.edges[0, 0]) == {"rank", "distance"}


def test_named_blocks_and_node_and_the_config_again(folder, tmp_path, capsys):
    output = tmp_path / "first"
    output.mkdir()
    (output / "teacher.graphml").write_text("of an earlier image")
    arguments = ["--model", str(folder / "model"), "--node", "150,20.5", "--output", str(output)]
    main(
        ["graph", str(folder / "image.png"), *arguments, "--block", "encoder.2, decoder.11, output"]
    )
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics["graphs"]) == ["encoder.2", "decoder.11", "output"]
    assert not (output / "teacher.graphml").exists()  # of an earlier image
    graph = record_graphs(ViGLAD.from_pretrained(folder / "model"), folder / "image.png")
    number = node_at(graph["encoder.2"], (150, 20.5))
    assert metrics["node"] == {"graph": "encoder.2", "number": number, "x": 150, "y": 20.5}
    assert "decoder.11" in capsys.readouterr().out
    assert not list(output.glob("*.json*")) or {p.name for p in output.glob("*.json")} == {
        "metrics.json"
    }
    config = output / "config.yaml"
    assert yaml.safe_load(config.read_text())["node"] == "150,20.5"
    main(["graph", "--config", str(config), "--output", str(tmp_path / "second")])
    for name in ("metrics.json", "node_scores.csv"):
        assert (tmp_path / "second" / name).read_text() == (output / name).read_text()


def test_a_model_without_statistics_needs_a_node(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ViGLAD("small", 96, k=5).save_pretrained(tmp_path / "runs" / "demo" / "model")
    with pytest.raises(SystemExit):
        main(["graph", str(folder / "image.png")])
    assert "Expected 'node' for a model without" in capsys.readouterr().err
    main(["graph", str(folder / "image.png"), "--node", "0,0"])
    metrics = json.loads((tmp_path / "runs" / "graph" / "metrics.json").read_text())
    assert "score" not in metrics
    assert metrics["node"]["number"] == 0


def test_viewer(folder, tmp_path):
    main(
        [
            "graph",
            str(folder / "image.png"),
            "--model",
            str(folder),
            "--output",
            str(tmp_path / "graph"),
            "--html",
        ]
    )
    page = (tmp_path / "graph" / "viewer.html").read_text()
    assert "<html" in page.lower()
    assert len(page) > 500_000  # Bokeh itself is inside


def test_viewer_names_its_extra(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    arguments = ["--model", str(folder), "--output", str(tmp_path / "graph"), "--html"]
    with pytest.raises(SystemExit):
        main(["graph", str(folder / "image.png"), *arguments])
    assert "pip install 'pyg-viglad[viewer]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "Expected an image file (got 'nowhere.png'"),
        (["IMAGE", "--model", "nowhere"], "Expected a model folder"),
        (["IMAGE", "--node", "200.5,3"], "inside the image of 200 x 60 pixels"),
        (["IMAGE", "--node", "12"], "Expected 'node' as x,y"),
        (["IMAGE", "--node", "nan,nan"], "inside the image"),
        (["IMAGE", "--block", "input,encoder.12"], "decoder, teacher, output, student (got 'enc"),
        (["IMAGE", "--device", "nothing"], "Expected a device"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, folder, tmp_path, capsys):
    arguments = [str(folder / "image.png") if a == "IMAGE" else a for a in arguments]
    if "--model" not in arguments:
        arguments += ["--model", str(folder)]
    check_mistake([*arguments, "--output", str(tmp_path / "graph")], message, tmp_path, capsys)


def test_a_convolutional_autoencoder_has_no_graphs(folder, tmp_path, capsys):
    ViGLAD("small", 96, autoencoder="conv").save_pretrained(tmp_path / "model")
    arguments = [str(folder / "image.png"), "--model", str(tmp_path), "--node", "1,1"]
    arguments += ["--output", str(tmp_path / "graph")]
    check_mistake(arguments, "Expected a ViGAutoEncoder to give graphs", tmp_path, capsys)


def check_mistake(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["graph", *arguments])
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pyg-viglad: error: ")
    assert message in line
    assert not (tmp_path / "graph").exists()


def test_flags_may_still_be_spelled_out(folder, tmp_path):
    """As in a config file, and as the other commands' flags are."""
    output = tmp_path / "graph"
    image, model = str(folder / "image.png"), str(folder)
    arguments = ["--model", model, "--output", str(output), "--graphml=false", "--json", "true"]
    main(["graph", image, *arguments, "--block", "encoder.11"])
    assert (output / "encoder.11.json").is_file()
    assert not (output / "encoder.11.graphml").exists()
