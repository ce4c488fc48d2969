import shutil

import pytest
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import CADSD
from tests.datasets.trees.cad_sd import NUMBERS, write_cad_sd
from tests.datasets.trees.images import SIZE


@pytest.fixture
def root(tmp_path):
    return write_cad_sd(tmp_path)


def test_splits(root):
    train, val = (CADSD(root, split, num_val=3) for split in ("train", "val"))
    assert (len(train), len(val)) == (7, 3)
    assert sorted(train.names + val.names) == [f"train/0_good/{i:03d}.jpg" for i in range(10)]
    assert CADSD(root, "val", num_val=3, seed=1).names != val.names
    # The test images do not depend on what is held out of training.
    assert CADSD(root, "test").names == CADSD(root, "test", num_val=1, seed=2).names


def test_kinds_and_defects(root):
    test = CADSD(root, "test", image_size=(32, 48))
    assert test.kinds == 3 * ["good"] + 3 * ["structural"] + 3 * ["logical"]
    assert test.defects == [
        *3 * [""],
        "scratch",
        *2 * ["paint"],
        *2 * ["over-coupling"],
        "lacking",
    ]
    assert test[5:7].defects == ["paint", "over-coupling"]
    batch = next(iter(DataLoader(test, 9)))
    assert batch.img.shape == (9, 3, 32, 48)
    assert batch.y.tolist() == 3 * [0] + 6 * [1]
    assert test.original_size(4) == SIZE


def test_it_has_no_masks(root):
    test = CADSD(root, "test")
    assert "mask" not in test[3]
    assert test.missing_masks() == []
    assert not test.original_mask(0).any()
    with pytest.raises(ValueError, match="data set with masks"):
        test.original_mask(3)


@pytest.mark.parametrize("name", NUMBERS)
def test_folder_that_is_missing(root, name):
    shutil.rmtree(root / name)
    with pytest.raises(FileNotFoundError, match=rf"(?s){name}' \(it is missing\).*4_lacking/"):
        CADSD(root, "test")


def test_errors(root):
    for number in (0, 10, 72):
        with pytest.raises(ValueError, match="'num_val' from 1 to 9"):
            CADSD(root, "train", num_val=number)
    (root / "test" / "5_bent").mkdir()
    with pytest.raises(ValueError, match=r"(?s)no folder '5_bent'.*4_lacking/"):
        CADSD(root, "test")
    shutil.rmtree(root / "train")
    with pytest.raises(FileNotFoundError, match=r"(?s)0_good' \(it is missing\).*root/\n"):
        CADSD(root)
    with pytest.raises(FileNotFoundError, match=r"(?s)nowhere' \(it is missing\).*root/\n"):
        CADSD(root / "nowhere")
