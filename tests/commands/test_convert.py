"""Published checkpoints become files that the networks and the detector load."""

import argparse

import pytest
import torch

from pyg_viglad import ViGLAD
from pyg_viglad.cli import main
from pyg_viglad.models import PyramidViG, PyramidViHGNN, ViG, ViHGNN
from tests.oracles.pyramid_vig import reference_state, vig_oracle
from tests.oracles.vision_hgnn import hypergraph_operator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    state = reference_state("pyramid", "ti")
    torch.save(state, folder / "pyramid.pth")
    torch.save({"state_dict": reference_state("isotropic", "ti")}, folder / "isotropic.pth")
    torch.save({"weight": torch.zeros(1)}, folder / "other.pth")
    torch.save({"pos_embed": torch.zeros(1, 48, 56, 56)}, folder / "few.pth")
    torch.save({"pos_embed": torch.zeros(3)}, folder / "flat.pth")
    torch.save(torch.nn.Linear(1, 1), folder / "pickled.pth")
    torch.save({"model": state, "args": argparse.Namespace(lr=1)}, folder / "training.pth")
    torch.save({"epoch": 3, "optimizer": {}}, folder / "nested.pth")
    (folder / "text.pth").write_text("no weights")
    (folder / "half.pth").write_bytes((folder / "pyramid.pth").read_bytes()[: 10**6])
    return folder


def test_pyramid_vig(folder, capsys):
    main(["convert", str(folder / "pyramid.pth")])
    file = folder / "pyramid.safetensors"
    assert capsys.readouterr().out == f"PyramidViG(ti, 10): {file}\n"
    model = PyramidViG.from_file(file)
    images = torch.rand(1, 3, 224, 224) * 2 - 1
    state = torch.load(folder / "pyramid.pth")
    with torch.no_grad():
        logits = model.double()(images.double())
    assert torch.allclose(logits, vig_oracle(state, images, "pyramid", "ti")[0], atol=1e-9)
    # A detector starts from either file, and does not need it again.
    first, second = (
        ViGLAD("small", 96, encoder_weights=folder / name).autoencoder
        for name in ("pyramid.safetensors", "pyramid.pth")
    )
    for part in ("constructor", "encoder"):
        one, two = (getattr(net, part).state_dict() for net in (first, second))
        assert all(torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"epoch": 3, "state_dict_ema": state},
        lambda state: {"state_dict": state, "state_dict_ema": None},
        lambda state: {k: v.bfloat16() if v.dim() else v for k, v in state.items()},
        lambda state: {k: torch.nn.Parameter(v) if v.dim() else v for k, v in state.items()},
    ],
)
@pytest.mark.filterwarnings("error")
def test_checkpoints_of_trainings(wrap, folder, tmp_path):
    state = torch.load(folder / "pyramid.pth")
    torch.save(wrap(state), tmp_path / "made_78.5.pth.tar")
    main(["convert", str(tmp_path / "made_78.5.pth.tar")])
    file = tmp_path / "made_78.5.safetensors"
    model = PyramidViG.from_file(file)
    torch.testing.assert_close(model.constructor.position, state["pos_embed"], rtol=1e-2, atol=1e-3)
    (tmp_path / "usual").touch()
    assert file.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_isotropic_vig(folder, capsys):
    target = folder / "made.safetensors"
    main(["convert", str(folder / "isotropic.pth"), "--output", str(target)])
    assert str(ViG.from_file(target)) == "ViG(ti, 10)"


@pytest.mark.parametrize("network", [PyramidViHGNN, ViHGNN])
def test_vision_hgnn(network, tmp_path, capsys):
    model = "pyramid" if network is PyramidViHGNN else "isotropic"
    operator = hypergraph_operator(torch.rand)
    state = reference_state(model, "ti", operator=operator, images=torch.rand(2, 3, 64, 64))
    torch.save(state, tmp_path / "published.pth")
    main(["convert", str(tmp_path / "published.pth")])
    file = tmp_path / "published.safetensors"
    assert capsys.readouterr().out == f"{network.__name__}(ti, 10): {file}\n"
    made = network.from_file(file)
    assert made.config["padding"] == "last"
    eps = [value for name, value in state.items() if name.endswith("gconv.eps")]
    own = [value for name, value in made.state_dict().items() if name.endswith("conv.eps")]
    assert torch.equal(torch.cat(own), torch.cat(eps))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.pth"], "Expected a file of weights"),
        (["pickled.pth"], "to hold plain weights (got torch.nn.modules.linear.Linear)"),
        (["training.pth"], "to hold plain weights (got argparse.Namespace)"),
        (["text.pth"], "to hold plain weights (reading it raised"),
        (["half.pth"], "to hold plain weights (reading it raised RuntimeError)"),
        (["nested.pth"], "to hold a dictionary of tensors (got the keys ['epoch', 'optimizer'])"),
        (["."], "Expected a file of weights"),
        (["pyramid.pth", "--output", "/proc/new.safetensors"], "/proc/new.safetensors"),
        (["other.pth"], "Expected a published checkpoint of Pyramid ViG, ViG or Vision HGNN"),
        (["flat.pth"], "got keys such as pos_embed"),
        (["few.pth"], "Expected the published layout of PyramidViG(ti, 0): 462 keys missing"),
        (["pyramid.pth", "--output", "new.pth"], "ends in '.safetensors'"),
        (["pyramid.pth", "--output", "none/new.safetensors"], "in an existing folder"),
        (["pyramid.pth", "--output", "pyramid.pth"], "another file than the checkpoint"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    arguments, message, folder, capsys, monkeypatch
):
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit, match="1"):
        main(["convert", *arguments])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
