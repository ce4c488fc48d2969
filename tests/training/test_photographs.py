import numpy as np
import pytest
import torch
from PIL import Image

from pyg_viglad.training import Photographs


def test_bundled_photographs():
    torch.manual_seed(0)
    photographs = Photographs(size=64, length=5)
    assert len(photographs) == 5
    items = torch.stack([photographs[number] for number in range(5)])
    assert items.shape == (5, 3, 64, 64)
    assert items.min() >= 0
    assert items.max() <= 1
    assert not torch.equal(items[0], items[2])  # another crop of the same photograph
    with pytest.raises(IndexError):
        photographs[5]


def test_folder_without_augmentation(tmp_path):
    (tmp_path / "deep").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "deep" / "a.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "b.png")
    photographs = Photographs(tmp_path, 60, augment=False, grayscale=0)
    assert len(photographs) == 2
    gray, colour = photographs[0], photographs[1]
    assert torch.equal(gray[0], gray[1])
    assert torch.allclose(colour, torch.from_numpy(pixels[:, 10:70]).permute(2, 0, 1) / 255)


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of images"):
        Photographs(tmp_path / "none")
    with pytest.raises(ValueError, match="at least one image"):
        Photographs(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        Photographs(tmp_path)[0]
