import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import ImageFolder


def write(path, number=1, seed=0, size=(30, 40)):
    path.mkdir(parents=True, exist_ok=True)
    for place in range(number):
        pixels = np.random.default_rng([seed, place]).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{place:03d}.png")


def test_flat_folder(tmp_path):
    write(tmp_path, 20)
    train, val, test = (ImageFolder(tmp_path, s, (24, 32)) for s in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (18, 2, 0)
    assert set(train.names).isdisjoint(val.names)
    assert set(train.kinds) == {"good"}
    assert train[0].img.shape == (1, 3, 24, 32)
    assert ImageFolder(tmp_path, "val", seed=1).names != val.names


def test_layout_of_mvtec_loco(tmp_path):
    write(tmp_path / "train" / "good", 6)
    write(tmp_path / "validation" / "good", 2, seed=1)
    write(tmp_path / "test" / "good", 3, seed=2)
    write(tmp_path / "test" / "logical_anomalies", 2, seed=3)
    write(tmp_path / "test" / "structural_anomalies", 1, seed=4)
    for folder in ("logical_anomalies/000", "logical_anomalies/001", "structural_anomalies/000"):
        mask = tmp_path / "ground_truth" / folder
        mask.mkdir(parents=True)
        pixels = np.zeros((30, 40), np.uint8)
        pixels[:15, :20] = 200
        Image.fromarray(pixels).save(mask / "000.png")
    splits = [ImageFolder(tmp_path, split, 60) for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [6, 2, 6]
    test = splits[2]
    assert test.kinds == 3 * ["good"] + 2 * ["logical"] + ["structural"]
    assert test.defects[-1] == "structural_anomalies"
    masks = torch.cat([item.mask for item in test])
    assert masks[:3].sum() == 0
    assert masks[3, :30, :30].all()
    assert float(masks[3].float().mean()) == pytest.approx(0.25, abs=0.02)
    assert next(iter(DataLoader(test, 6))).img.shape == (6, 3, 60, 60)


def test_layout_of_mvtec_ad_holds_out_training_images(tmp_path):
    write(tmp_path / "train" / "good", 10)
    write(tmp_path / "test" / "broken", 2, seed=1)
    write(tmp_path / "test" / "good", 2, seed=2)
    train, val, test = (ImageFolder(tmp_path, split) for split in ("train", "val", "test"))
    assert (len(train), len(val)) == (9, 1)
    assert all(name.startswith("train/") for name in train.names + val.names)
    assert test.defects == ["broken", "broken", "", ""]
    assert test.kinds == ["structural", "structural", "good", "good"]


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected the folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(ValueError, match="Expected images"):
        ImageFolder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="two images"):
        ImageFolder(tmp_path)
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"\.png"):
        ImageFolder(tmp_path)[0]
    with pytest.raises(ValueError, match="'split'"):
        ImageFolder(tmp_path, "all")
