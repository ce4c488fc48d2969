import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import ImageFolder
from tests.datasets.trees.images import mask, write_images, write_mask


def test_flat_folder(tmp_path):
    write_images(tmp_path, 20)
    train, val, test = (ImageFolder(tmp_path, s, (24, 32)) for s in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (15, 5, 0)
    assert set(train.names).isdisjoint(val.names)
    assert set(train.kinds) == {"good"}
    assert train[0].img.shape == (1, 3, 24, 32)
    assert ImageFolder(tmp_path, "val", seed=1).names != val.names


def test_layout_of_mvtec_loco(tmp_path):
    write_images(tmp_path / "train" / "good", 6)
    write_images(tmp_path / "validation" / "good", 2)
    write_images(tmp_path / "test" / "good", 3)
    write_images(tmp_path / "test" / "logical_anomalies", 2)
    write_images(tmp_path / "test" / "structural_anomalies", 1)
    for folder in ("logical_anomalies/000", "logical_anomalies/001", "structural_anomalies/000"):
        write_mask(tmp_path / "ground_truth" / folder / "000.png", mask(200, 0, 10, 0, 17))
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
    write_images(tmp_path / "train" / "good", 10)
    write_images(tmp_path / "test" / "broken", 2)
    write_images(tmp_path / "test" / "good", 2)
    train, val, test = (ImageFolder(tmp_path, split) for split in ("train", "val", "test"))
    assert (len(train), len(val)) == (8, 2)
    assert all(name.startswith("train/") for name in train.names + val.names)
    assert test.defects == ["broken", "broken", "", ""]
    assert test.kinds == ["structural", "structural", "good", "good"]


def test_names_of_logical_anomalies(tmp_path):
    write_images(tmp_path / "train" / "good", 4)
    for name in ("good", "logical_anomalies", "missing_1", "missing_2", "scratch"):
        write_images(tmp_path / "test" / name, 1)
    kinds = ["good", "structural", "logical", "logical", "structural"]
    assert ImageFolder(tmp_path, "test", logical=["missing"]).kinds == kinds
    assert ImageFolder(tmp_path, "test", logical="missing").kinds == kinds
    kinds = ["good", "logical", "structural", "structural", "structural"]
    assert ImageFolder(tmp_path, "test").kinds == kinds


def test_names_of_good_images(tmp_path):
    write_images(tmp_path / "train", 4)
    for name in ("Good", "Logical_x", "NORMAL", "OK", "goodness"):
        write_images(tmp_path / "test" / name, 1)
    test = ImageFolder(tmp_path, "test")
    assert test.kinds == ["good", "logical", "good", "good", "structural"]
    assert test.defects == ["", "Logical_x", "", "", "goodness"]


@pytest.mark.parametrize("name", ["Good", "OK", "normal"])
def test_names_of_good_training_images(tmp_path, name):
    write_images(tmp_path / "train" / name, 4)
    write_images(tmp_path / "val" / name, 2)
    write_images(tmp_path / "test" / "good", 1)
    assert len(ImageFolder(tmp_path)) == 4
    assert len(ImageFolder(tmp_path, "val")) == 2
    write_images(tmp_path / "train" / "gOOD", 1)
    with pytest.raises(ValueError, match=rf"one folder of good images in .*train' \(got .*{name}"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("end", [".PNG", "_mask.bmp", "_mask.TIF", ".gif", "_mask.png"])
def test_masks_of_any_format(tmp_path, end):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test" / "bad", 1)
    truth = mask(255, 0, 5, 0, 5)
    path = tmp_path / "ground_truth" / "bad" / f"000{end}"
    path.parent.mkdir(parents=True)
    Image.fromarray(truth).save(path)
    assert torch.equal(ImageFolder(tmp_path, "test").original_mask(0), torch.from_numpy(truth > 0))


def test_noise_around_a_compressed_mask_is_no_defect(tmp_path):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test" / "bad", 1)
    truth = mask(255, 3, 11, 2, 13)
    path = tmp_path / "ground_truth" / "bad" / "000.jpg"
    path.parent.mkdir(parents=True)
    Image.fromarray(truth).save(path, quality=60)
    stored = np.asarray(Image.open(path))
    assert ((stored > 0) & (truth == 0)).any()
    found = ImageFolder(tmp_path, "test").original_mask(0).numpy()
    assert np.array_equal(found, truth > 0)


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
