import shutil

import numpy as np
import pytest
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import ImageFolder, MVTecAD
from tests.datasets.trees.images import SIZE, mask, write_mask
from tests.datasets.trees.mvtec_ad import write_mvtec_ad


@pytest.fixture
def folder(tmp_path):
    return write_mvtec_ad(tmp_path)


def test_splits(folder):
    train, val = (MVTecAD(folder.parent, "bottle", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train.names + val.names) == [f"train/good/{i:03d}.png" for i in range(10)]
    # The same images as those of a plain folder of this layout.
    assert ImageFolder(folder, "val").names == val.names


def test_items(folder):
    test = MVTecAD(folder.parent, "bottle", "test", image_size=(40, 68))
    assert test.kinds == 3 * ["structural"] + 2 * ["good"]
    assert test.defects == ["broken_large", "broken_large", "contamination", "", ""]
    wanted = mask(1, 0, 10, 0, 17) > 0
    assert np.array_equal(test.original_mask(2).numpy(), wanted)
    assert np.array_equal(test[2].mask[0].numpy(), wanted.repeat(2, 0).repeat(2, 1))
    assert test.original_size(0) == SIZE
    batch = next(iter(DataLoader(test[1:4], 3)))
    assert batch.mask.flatten(1).any(1).tolist() == [True, True, False]
    assert batch.kind == ["structural", "structural", "good"]


def test_masks_that_are_missing_or_do_not_fit(folder):
    file = folder / "ground_truth" / "broken_large" / "001_mask.png"
    write_mask(file, mask(255, size=(10, 17)))
    test = MVTecAD(folder.parent, "bottle", "test")
    with pytest.raises(ValueError, match=r"001_mask\.png.*20x34 \(got 10x17\)"):
        test[1]
    assert ImageFolder(folder, "test")[1].mask.all()  # plain folders resize masks
    file.unlink()
    with pytest.raises(FileNotFoundError, match="Expected a mask of"):
        test[1]
    assert [path.name for path in test.missing_masks()] == ["001.png"]


@pytest.mark.parametrize("name", ["train/good", "test/good", "ground_truth"])
def test_folder_that_is_missing(folder, name):
    shutil.rmtree(folder / name)
    with pytest.raises(FileNotFoundError, match=rf"(?s){name}' \(it is missing\).*root/\n"):
        MVTecAD(folder.parent, "bottle", "train" if name == "train/good" else "test")


def test_arguments(folder):
    with pytest.raises(ValueError, match=r"'zipper' .*got 'flask'"):
        MVTecAD(folder.parent, "flask")
    with pytest.raises(ValueError, match="'val_fraction'"):
        MVTecAD(folder.parent, "bottle", val_fraction=0)
