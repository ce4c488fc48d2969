"""A saved model judges images as the one in memory does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pyg_viglad import ViGLAD
from pyg_viglad.models import PyramidViG

SCRIPT = """
import sys
import torch
from safetensors.torch import load_file, save_file
from pyg_viglad import ViGLAD

torch.set_num_threads(int(sys.argv[2]))
model = ViGLAD.from_pretrained(sys.argv[1])
found = model.predict(load_file(sys.argv[1] + "/images.safetensors")["images"])._asdict()
save_file({k: v.contiguous() for k, v in found.items()}, sys.argv[1] + "/found.safetensors")
"""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ViGLAD("small", (96, 112), node_scorer={"channels": 10})
    model.fit_statistics(torch.rand(8, 3, 96, 112), torch.rand(4, 3, 96, 112))
    return model


def test_scores_are_bit_equal_in_a_new_process(model, tmp_path):
    images = torch.rand(3, 3, 96, 112, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path)
    save_file({"images": images}, tmp_path / "images.safetensors")
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(torch.get_num_threads())],
        check=True,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
    )
    found = load_file(tmp_path / "found.safetensors")
    expected = model.predict(images)._asdict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_eight_at_once_are_eight_one_by_one(model):
    images = torch.rand(8, 3, 96, 112, generator=torch.Generator().manual_seed(2))
    together = model.predict(images, batch_size=8)
    one_by_one = model.predict(images, batch_size=1)
    for name, value in together._asdict().items():
        other = getattr(one_by_one, name)
        if name == "is_anomalous":
            assert torch.equal(value, other)
        else:
            assert torch.allclose(value, other, rtol=1e-3, atol=1e-3), name


def test_a_subclass_with_other_arguments_is_saved_and_loaded(tmp_path):
    class Mine(ViGLAD):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    model = Mine("small", image_size=96, k=5)
    model.save_pretrained(tmp_path)
    assert ViGLAD.from_pretrained(tmp_path).config == model.config


def test_a_model_that_started_from_weights_is_loaded_without_them(tmp_path):
    model = ViGLAD("small", 96, encoder_weights=PyramidViG("ti", num_classes=0))
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert "encoder_weights" not in loaded.config
    state = loaded.state_dict()
    assert all(
        torch.equal(value, state[name]) or name == "threshold"
        for name, value in model.state_dict().items()
    )
    with pytest.raises(
        ValueError, match=r"autoencoder 'vig' with 'encoder_weights' \(got 'conv'\)"
    ):
        ViGLAD("small", 96, autoencoder="conv", encoder_weights=PyramidViG("ti", num_classes=0))
