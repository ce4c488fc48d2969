"""Exported programs score as the model does, on images of other sizes and numbers than those traced."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pyg_viglad import ViGAutoEncoder, ViGLAD
from pyg_viglad.cli import main
from pyg_viglad.transforms import to_batch
from tests.models.helpers import smooth_images

EXAMPLE = Path(__file__).parents[2] / "examples" / "judge_with_onnxruntime.py"


def fitted(**options):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, **options)
    if isinstance(
        model.autoencoder, ViGAutoEncoder
    ):  # with one block per stage they are traced faster
        for stage in (*model.autoencoder.encoder, *model.autoencoder.decoder):
            del stage[1:]
    images = smooth_images(24, seed=1)
    model.fit_statistics(images[:16], images[16:])
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return fitted(k=5, node_scorer={"type": "neighbors", "windows": [2]})


@pytest.fixture(scope="module")
def convolutional():
    return fitted(autoencoder="conv", node_scorer="gaussian", fusion="pseudo", whiten=8)


# Not the sizes that were traced, nor that of the model; one is not square.
IMAGES = smooth_images(3, seed=2, size=(110, 150)).clamp(0, 1)


def check(outputs, model, images, names, tolerance=1e-2):
    """Compares with predict(), relative to the spread of normal scores and maps.

    Other kernels round otherwise, and may so choose another of two neighbours that are equally near.
    """
    with torch.no_grad():
        expected = model.predict(images)
    found = {name: torch.as_tensor(value) for name, value in zip(names, outputs, strict=True)}
    spread = float(model.predict(smooth_images(8, seed=1)).score.std())
    assert float((found["score"] - expected.score).abs().max()) < tolerance * spread
    for name in ("anomaly_map", "node_map"):
        wanted = getattr(expected, name)
        assert (wanted is None) == (name not in found)
        if wanted is not None:
            assert found[name].shape == wanted.shape
            assert float((found[name] - wanted).abs().max()) < tolerance * float(wanted.std())
    assert torch.equal(found["threshold"], model.threshold)
    return found


def run_onnx(path, images):
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["images"]
    outputs = session.run(None, {"images": images.numpy()})
    return outputs, [one.name for one in session.get_outputs()]


def test_onnx(model, tmp_path):
    file = model.export(tmp_path / "model.onnx")
    for images in (IMAGES, IMAGES[:1, :, :60, :70]):
        outputs, names = run_onnx(file, images)
        check(outputs, model, images, names)

    # The example needs no more than this file and an array.
    np.save(tmp_path / "images.npy", IMAGES.numpy())
    command = [sys.executable, EXAMPLE, file, tmp_path / "images.npy"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    prediction = model.predict(IMAGES)
    lines = re.findall(r"image (\d+): (\w+), score (-?\d+\.\d\d), most", shown)
    assert [int(number) for number, _, _ in lines] == [0, 1, 2]
    words = ["anomalous" if found else "normal" for found in prediction.is_anomalous]
    assert [word for _, word, _ in lines] == words
    scores = torch.tensor([float(score) for _, _, score in lines])
    assert torch.allclose(scores, prediction.score, atol=0.01)


def test_torch_program_with_graphs_runs_without_the_package(model, tmp_path):
    model.export(tmp_path / "model.pt2", dtype="uint8", graphs=True)
    images = (IMAGES * 255).round().to(torch.uint8)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; torch.set_grad_enabled(False); folder = sys.argv[1]; "
        "program = torch.export.load(folder + '/model.pt2').module(); "
        "outputs = program(torch.load(folder + '/images.pt')); "
        "torch.save(outputs, folder + '/outputs.pt'); "
        "assert 'pyg_viglad' not in sys.modules and 'torch_geometric' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=tmp_path)
    outputs = torch.load(tmp_path / "outputs.pt")
    graphs = model.graphs(to_batch(images / 255, (96, 96)), blocks=True)
    names = ["score", "anomaly_map", "node_map", "threshold", *(f"graph.{name}" for name in graphs)]
    found = check(outputs, model, images / 255, names, tolerance=1e-5)
    assert len(graphs) == 3 + 4 + 4
    for name, graph in graphs.items():
        assert torch.equal(found[f"graph.{name}"], graph.edge_index)


def test_command(convolutional, tmp_path, capsys):
    convolutional.save_pretrained(tmp_path / "model")
    main(["export", "--model", str(tmp_path)])
    assert capsys.readouterr().out.rstrip().endswith("MB)")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.onnx"]
    outputs, names = run_onnx(tmp_path / "model.onnx", IMAGES)
    check(outputs, convolutional, IMAGES, names)


def test_mistakes(model, convolutional, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"fit_statistics\(\) before an export"):
        ViGLAD("small", 96).export(tmp_path / "model.pt2")
    with pytest.raises(ValueError, match=r"ends in '.onnx' or '.pt2' \(got '.*model.pth'\)"):
        model.export(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError, match="existing folder"):
        model.export(tmp_path / "none" / "model.pt2")
    with pytest.raises(ValueError, match=r"'dtype' to be 'float32' or 'uint8' \(got 'int8'\)"):
        model.export(tmp_path / "model.pt2", dtype="int8")
    with pytest.raises(ValueError, match=r"ViGAutoEncoder to give graphs \(got ConvAutoEncoder\)"):
        convolutional.export(tmp_path / "model.pt2", graphs=True)
    monkeypatch.setattr("pyg_viglad.models.export.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'pyg-viglad\[export\]'"):
        model.export(tmp_path / "model.onnx")
    with pytest.raises(SystemExit):
        main(["export", "--model", str(tmp_path), "--format", "torch", "--output", "x.onnx"])
    assert not list(tmp_path.iterdir())


class Unexportable(nn.Module):
    def forward(self, images):
        # Tracing cannot know the value.
        channels = 384 if float(images.sum()) > 0 else 383
        return nn.functional.avg_pool2d(images, 4)[:, :1].expand(-1, channels, -1, -1)


def test_a_part_that_cannot_be_exported(tmp_path):
    model = fitted(autoencoder=Unexportable())
    with pytest.raises(ValueError, match="model that torch can export"):
        model.export(tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())
