"""``pyg-viglad graph``: the graphs of an image in a trained detector."""

from pathlib import Path
from typing import Any

from torch_geometric.data import Batch

from pyg_viglad.commands.report import write_csv
from pyg_viglad.commands.run import open_model, open_run
from pyg_viglad.files import write_json

__all__ = ["graph"]

_FEATURES = ("teacher", "output", "student")  # graphs of the features that the loss compares


def graph(
    image: str,
    model: str = "runs/demo",
    node: str | None = None,
    block: str | None = None,
    html: bool = False,
    graphml: bool = False,
    json: bool = False,
    output: str = "runs/graph",
    device: str = "cpu",
) -> dict[str, Any]:
    """Draw a node of an image and its neighbours in the graphs of a trained detector (Figure 5).

    The output folder gets node_graphs.png and node_graphs.pdf, node_scores.csv (position, scores and
    measures of every node of every drawn graph) and metrics.json (the measures of the graphs).

    Args:
        image: An image file.
        model: Folder of a run or of a trained model.
        node: Position x,y in pixels of the image, inside the node's patch; by default the most
            anomalous node.
        block: Graphs to draw, such as input,encoder.2,decoder or teacher,output,student (of the
            features that the loss compares); by default the input graph, the deepest encoder graph with
            more nodes than neighbours, and the decoder graph.
        html: Also write viewer.html, a page to click in, with all graphs (needs the extra viewer).
        graphml: Also write every drawn graph as GraphML, for Gephi and others.
        json: Also write every drawn graph as node-link JSON.
        output: Folder of the run.
        device: A torch device, such as cpu, cuda.

    Returns:
        The metrics that metrics.json holds.
    """
    config = dict(locals())
    import torch

    from pyg_viglad.graphs import (
        export_graph,
        graph_measures,
        node_at,
        record_graphs,
        write_graphml,
        write_node_link,
    )
    from pyg_viglad.transforms import to_image
    from pyg_viglad.visualization import GraphViewer, plot_node_graphs, save_figure

    picture = to_image(image)
    height, width = picture.shape[1:]
    xy = None if node is None else _parse_position(node)
    detector = open_model(model, device)
    names = None if block is None else [name.strip() for name in block.split(",")]
    outputs = not set(_FEATURES).isdisjoint(names or [])
    recorded = record_graphs(detector, picture, outputs=outputs)
    graphs = {name: batch.cpu() for name, batch in recorded.items()}
    chosen = _choose(graphs, names)
    metrics: dict[str, Any] = {}
    if detector.fitted:
        prediction = detector.predict(picture)
        metrics |= {
            "score": float(prediction.score),
            "threshold": float(detector.threshold),
            "is_anomalous": bool(prediction.is_anomalous),
        }
        if xy is None:
            x, y = prediction.position[0].tolist()
            xy = x * width / detector.image_size[1], y * height / detector.image_size[0]
    if xy is None:
        raise ValueError("Expected 'node' for a model without fitted scores (got none)")
    first = next(iter(chosen.values()))
    number = node_at(first, xy)
    viewer = GraphViewer.from_model(detector, image, node=xy) if html else None
    # After all checks, so that a mistake creates no files.
    folder = open_run(output, "graph", config)
    for name in (*graphs, *_FEATURES):  # of an earlier image
        for suffix in (".graphml", ".json"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)

    figure = plot_node_graphs(
        picture,
        chosen,
        torch.tensor([xy]),
        scores=[metrics["score"]] if metrics else None,
        node_scores=first.node_score[[number]] if "node_score" in first else None,
        titles=[Path(image).name],
    )
    save_figure(figure, folder / "node_graphs", dpi=150)
    with_input = {"input": graphs["input"], **chosen}
    of_nodes, of_graphs = (graph_measures(with_input, per_graph=flag) for flag in (False, True))
    rows = []
    for name, batch in chosen.items():
        batch.update(of_nodes[name])
        rows += [
            {"graph": name, "node": place, **values}
            for place, values in export_graph(batch).nodes(data=True)
        ]
        if graphml:
            write_graphml(batch, folder / f"{name}.graphml")
        if json:
            write_node_link(batch, folder / f"{name}.json")
    write_csv(folder / "node_scores.csv", rows)
    metrics["node"] = {"graph": next(iter(chosen)), "number": number, "x": xy[0], "y": xy[1]}
    metrics["graphs"] = {
        name: {measure: float(values) for measure, values in of_graphs[name].items()}
        for name in chosen
    }
    write_json(folder / "metrics.json", metrics)
    if viewer is not None:
        viewer.save(folder / "viewer.html")
    _print_measures(metrics, folder)
    return metrics


def _parse_position(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"Expected 'node' as x,y in pixels of the image (got '{text}')") from None
    return x, y


def _choose(graphs: dict[str, Batch], names: list[str] | None) -> dict[str, Batch]:
    """Returns the named graphs, or the three of Figure 5."""
    from pyg_viglad.graphs import select_graphs

    if names is None:
        return select_graphs(graphs)
    unknown = [name for name in names if name not in graphs]
    if unknown:
        known = [f"{part}.0 to {part}.11, {part}" for part in ("encoder", "decoder")]
        raise ValueError(
            f"Expected 'block' among input, {', '.join((*known, *_FEATURES))} (got '{unknown[0]}')"
        )
    return {name: graphs[name] for name in names}


def _print_measures(metrics: dict[str, Any], folder: Path) -> None:
    columns = ("overlap", "edge length", "in-degree", "homophily", "components")
    print(f"{'graph':12}" + "".join(f"{column:>13}" for column in columns))
    for name, values in metrics["graphs"].items():
        cells = [f"{value:>13.4g}" for value in values.values()]
        print(f"{name:12}" + "".join(cells))
    place = metrics["node"]
    print(f"Node at x = {place['x']:g}, y = {place['y']:g}: {folder / 'node_graphs.png'}")
