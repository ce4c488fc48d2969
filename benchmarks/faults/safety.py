"""Files from strangers: they may be refused, but nothing in them runs, and they reach no other files."""

import contextlib
import csv
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch_geometric.data import Data

from benchmarks.faults import Outcome
from pyg_viglad import ViGLAD, cli
from pyg_viglad.datasets import DigitAnatomy, VisA
from pyg_viglad.files import read_tensors
from pyg_viglad.graphs import write_graphml
from pyg_viglad.models import BackboneFeatures, PyramidViG, load_teacher
from pyg_viglad.training import ViGLADModule, make_trainer
from pyg_viglad.training.checkpoint import run_trainer
from pyg_viglad.transforms import ImageToGraph, to_image
from pyg_viglad.visualization import GraphViewer

__all__ = ["TEXTS", "check"]

# Texts that would run if a page, a graph file or a formula held them as they are.
TEXTS = (
    "</script><script>run()</script>",
    "\"'><img src=x onerror=run()>",
    "'];run();//",
    "</title></h1><svg onload=run()>",
    "<!--<script>",
    "]]><script/>&amp;&#x3c;",
    "{{ 7 * 7 }}{% include 'x' %}",
)


class Bomb:
    """Runs code where it is unpickled: makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


def check(repeats: int = 1) -> Iterator[Outcome]:
    """Tries every place and text once; ``repeats`` has no effect."""
    del repeats
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        yield _pickles(folder)
        yield _yaml(folder)
        yield _pages(folder)
        yield _graphml(folder)
        yield _tables(folder)
        yield _downloads(folder)
        yield _vector_graphics(folder)


def _pickles(folder: Path) -> Outcome:
    marker = folder / "made by a pickle"
    torch.save({"state_dict": {"a": Bomb(marker)}, "model": Bomb(marker)}, folder / "bomb.pt")
    bomb = str(folder / "bomb.pt")
    model = ViGLAD("small", image_size=96, autoencoder="conv")
    model.save_pretrained(folder / "weights")
    (folder / "weights" / "model.safetensors").write_bytes(Path(bomb).read_bytes())
    np.savez(folder / "digits.npz", x_train=np.array([Bomb(marker)], dtype=object))
    images = Data(img=torch.rand(1, 3, 96, 96), num_nodes=0)
    trainer = make_trainer(folder / "run", 1, accelerator="cpu", progress=False)
    places: dict[str, Callable[[], object]] = {
        "a teacher's weights": lambda: load_teacher(bomb),
        "a backbone's weights": lambda: BackboneFeatures("resnet18", bomb),
        "an encoder's weights": lambda: ViGLAD(image_size=96, encoder_weights=bomb),
        "a state dict": lambda: read_tensors(bomb),
        "a published checkpoint": lambda: cli.main(["convert", bomb]),
        "a network": lambda: PyramidViG.from_file(bomb),
        "a model's folder": lambda: ViGLAD.from_pretrained(folder / "weights"),
        "a checkpoint": lambda: run_trainer(
            trainer, ViGLADModule(model), {"images": [images]}, bomb
        ),
        "an archive of digits": lambda: DigitAnatomy(source=folder / "digits.npz"),
    }
    wrong = [place for place, load in places.items() if not _refuses(load) or _made(marker)]
    return Outcome("weights, checkpoints and arrays that unpickle code", len(places), *_told(wrong))


def _yaml(folder: Path) -> Outcome:
    marker = folder / "made by an option"
    call = f"!!python/object/apply:os.mkdir ['{marker}']"
    model = {"class_path": "os.mkdir", "init_args": {"path": str(marker)}}
    contents = [
        f"data: {call}",
        f"data: digits\nmodel: {call}",
        f"data: digits\noutput: {folder}/a\nmodel: {json.dumps(model)}",
        f"data: digits\noutput: {folder}/b\ndata_options: {json.dumps(model)}",
    ]
    wrong = []
    for content in contents:
        (folder / "options.yaml").write_text(content)
        refused = _refuses(lambda: cli.main(["train", "--config", str(folder / "options.yaml")]))
        if not refused or _made(marker):
            wrong.append(content)
    ViGLAD("small", image_size=96).save_pretrained(folder / "config")
    file = folder / "config" / "config.json"
    before = json.loads(file.read_text())
    changes = [
        {"operator": "os.mkdir"},
        {"operator": model},
        {"graph": "os.mkdir"},
        {"autoencoder": model},
        {"teacher": {**before["teacher"], **model}},
        {"teacher": {"name": "timm:hf-hub:someone/model"}},
        {"teacher": {"name": "timm:local-dir:/tmp"}},
        {"teacher": {"name": "os.mkdir", "path": str(marker)}},
    ]
    texts = [*(json.dumps({**before, **change}) for change in changes), '{"teacher":' * 10**5]
    for text in texts:
        file.write_text(text)
        if not _refuses(lambda: ViGLAD.from_pretrained(file.parent)) or _made(marker):
            wrong.append(text[:200])
    tried = len(contents) + len(texts)
    return Outcome("options and config.json that name functions", tried, *_told(wrong))


def _pages(folder: Path) -> Outcome:
    graph = ImageToGraph(patch_size=8, k=3)(torch.rand(3, 32, 32))
    graph.img_size = torch.tensor([[32, 32]])
    graphs = {"input": graph, "encoder": graph, "decoder": graph}

    def tags(title: str) -> tuple[list[Any], list[str]]:
        reader = _Tags()
        viewer = GraphViewer(torch.rand(3, 32, 32), graphs, title=title)
        reader.feed(viewer.save(folder / "page.html").read_text(encoding="utf-8"))
        return reader.tags, reader.texts

    title = " ".join(TEXTS)
    (plain, _), (found, texts) = tags("plain"), tags(title)
    # The same tags, and the texts as the title and as the heading.
    wrong = [] if found == plain and texts.count(title) == 2 else [title]
    return Outcome("titles of the viewer's page with tags and quotes", len(TEXTS), *_told(wrong))


class _Tags(HTMLParser):
    """The tags of a page with their attributes but identifiers, and its texts outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[Any] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [(k, v) for k, v in attrs if "id" not in k]))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "script":
            self.texts.append(data)


def _graphml(folder: Path) -> Outcome:
    wrong = []
    for text in TEXTS:
        graph = Data(pos=torch.rand(3, 2), edge_index=torch.tensor([[1, 2], [0, 1]]))
        graph[text] = torch.rand(3)
        write_graphml(graph, folder / "graph.graphml")
        elements = list(ElementTree.parse(folder / "graph.graphml").getroot().iter())
        kinds = {element.tag.rpartition("}")[2] for element in elements}
        names = {element.get("attr.name") for element in elements}
        if text not in names or kinds - {"graphml", "key", "graph", "node", "edge", "data"}:
            wrong.append(text)
    return Outcome(
        "names of node fields in GraphML with tags and quotes", len(TEXTS), *_told(wrong)
    )


def _tables(folder: Path) -> Outcome:
    root = folder / "visa"
    (root / "candle").mkdir(parents=True)
    (root / "split_csv").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "secret.png")
    Image.new("RGB", (16, 16)).save(root / "candle" / "a.png")
    good, inside = folder / "secret.png", "candle/a.png"
    rows = [
        ("normal", "../secret.png", ""),
        ("normal", "candle/../../secret.png", ""),
        ("normal", str(good), ""),
        ("anomaly", inside, "../secret.png"),
        ("anomaly", inside, str(good)),
    ]
    wrong = []
    for row in rows:
        with (root / "split_csv" / "1cls.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["object", "split", "label", "image", "mask"])
            writer.writerow(["candle", "test", *row])
        if not _refuses(lambda: VisA(root, "candle", "test", 16)[0]):
            wrong.append(str(row[1:]))
    return Outcome("tables that name files outside of the data set", len(rows), *_told(wrong))


def _downloads(folder: Path) -> Outcome:
    """Altered files in the place of downloads, as a proxy or a broken disk would leave them."""
    blob = folder / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    blob.write_bytes(b"altered")
    digits = folder / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    digits.parent.mkdir(parents=True)
    digits.write_bytes(b"altered")
    with (
        mock.patch("pyg_viglad.models.viglad.hf_hub_download", return_value=str(blob)),
        mock.patch("huggingface_hub.try_to_load_from_cache", return_value=str(blob)),
        mock.patch("timm.create_model", _without_weights()),
        mock.patch("torchvision.datasets.MNIST"),
    ):
        places: dict[str, Callable[[], object]] = {
            "a model of the hub": lambda: ViGLAD.from_pretrained("someone/model"),
            "a backbone": lambda: BackboneFeatures("resnet18.a1_in1k"),
            "MNIST": lambda: DigitAnatomy(source="mnist", root=folder, download=True),
        }
        wrong = [place for place, load in places.items() if not _refuses(load, "SHA-256")]
    return Outcome("downloads that were altered", len(places), *_told(wrong))


def _without_weights() -> Callable[..., Any]:
    import timm

    create = timm.create_model
    return lambda name, pretrained=False, **options: create(name, **options)


def _vector_graphics(folder: Path) -> Outcome:
    Image.new("RGB", (8, 8)).save(folder / "drawing.png", "EPS")
    with mock.patch("PIL.EpsImagePlugin.Ghostscript") as program:
        refused = _refuses(lambda: to_image(folder / "drawing.png"))
    wrong = [] if refused and not program.called else ["EPS"]
    return Outcome("EPS, for which Pillow runs a program", 1, *_told(wrong))


def _refuses(load: Callable[[], object], reason: str = "") -> bool:
    """Whether loading ends in a clear error, which names the reason."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            load()
    except (ValueError, OSError) as error:
        return reason in str(error)
    except SystemExit:
        return "error: " in errors.getvalue()
    except Exception as error:
        # torch's refusal of a pickle, where Lightning reads the file
        return type(error).__name__ == "UnpicklingError"
    return False


def _made(marker: Path) -> bool:
    """Whether the folder was made, which is removed then."""
    if not marker.exists():
        return False
    marker.rmdir()
    return True


def _told(wrong: list[str]) -> tuple[str, int]:
    return ("not refused: " + "; ".join(wrong) if wrong else "no code executed", len(wrong))
