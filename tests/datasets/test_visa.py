import shutil

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import VisA
from tests.datasets.trees.images import SIZE, mask, write_mask
from tests.datasets.trees.visa import GOOD, LABELS, TRAIN, prepare, write_table, write_visa

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("visa")
    raw = write_visa(folder / "raw")
    prepared = prepare(raw, folder / "prepared")
    return {"raw": raw, "prepared": prepared, "inner": prepared / "1cls"}


@pytest.fixture
def raw(tmp_path):
    return write_visa(tmp_path, ("candle",))


@pytest.fixture
def prepared(tmp_path):
    return prepare(write_visa(tmp_path / "raw", ("candle",)), tmp_path / "prepared")


@pytest.mark.parametrize("name", ["raw", "prepared", "inner"])
def test_splits(roots, name):
    train, val, test = (VisA(roots[name], "pcb4", split, image_size=32) for split in SPLITS)
    assert train.layout == ("raw" if name == "raw" else "prepared")
    assert (len(train), len(val), len(test)) == (TRAIN - 5, 5, GOOD + 2)
    assert set(train.names).isdisjoint(val.names)
    assert set(train.kinds + val.kinds) == {"good"}
    assert "mask" not in train[0]
    assert test.kinds == ["structural", "structural", "good", "good", "good"]
    assert test.defects == [*(LABELS if name == "raw" else ["bad", "bad"]), "", "", ""]
    assert test.original_size(0) == SIZE
    assert VisA(roots[name], "pcb4", "val", seed=1).names != val.names
    assert len(VisA(roots[name], "pcb4", "val", val_fraction=0.25)) == 5


def test_both_layouts_are_the_same_data(roots):
    for split in SPLITS:
        raw, prepared = (
            VisA(roots[name], "candle", split, image_size=32) for name in ("raw", "prepared")
        )
        assert [p.name for p in raw.paths] == [p.name for p in prepared.paths]
        assert torch.equal(raw.images, prepared.images)
    assert raw.names[0] == "Data/Images/Anomaly/000.JPG"
    assert prepared.names[0] == "test/bad/000.JPG"
    for place in range(len(raw)):
        wanted = mask(1, 0, 10, 0, 17) if place < 2 else mask(0)
        for dataset in (raw, prepared):
            assert np.array_equal(dataset.original_mask(place).numpy(), wanted > 0)
            assert dataset[place].mask.any() == (place < 2)
    assert raw[0].mask[0, :15, :15].all()
    assert not raw[0].mask[0, 17:].any()


def test_layout_can_be_named(roots, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(roots["raw"], both)
    shutil.copytree(roots["inner"], both / "1cls")
    assert VisA(both, "candle").layout == "raw"
    assert VisA(both, "candle", layout="prepared").paths[0].parts[-3] == "train"
    with pytest.raises(ValueError, match="'layout'"):
        VisA(both, "candle", layout="2cls")


def test_subsets_and_batches(roots):
    test = VisA(roots["raw"], "candle", "test", image_size=32)
    part = test[1:3]
    assert part.defects == [LABELS[1], ""]
    assert part.names == test.names[1:3]
    batch = next(iter(DataLoader(test, 5)))
    assert batch.img.shape == (5, 3, 32, 32)
    assert batch.mask.flatten(1).any(1).tolist() == [True, True, False, False, False]
    assert batch.y.tolist() == [1, 1, 0, 0, 0]


def test_without_annotations_a_defect_is_bad(raw):
    (raw / "candle" / "image_anno.csv").unlink()
    assert VisA(raw, "candle", "test").defects == ["bad", "bad", "", "", ""]


def test_masks_that_are_missing_or_do_not_fit(raw):
    file = raw / "candle" / "Data" / "Masks" / "Anomaly" / "001.png"
    write_mask(file, mask(1, size=(34, 20)))
    test = VisA(raw, "candle", "test")
    with pytest.raises(ValueError, match=r"001\.png.*20x34 \(got 34x20\)"):
        test[1]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"001\.png' \(it is missing\)"):
        test[1]
    assert [path.name for path in test.missing_masks()] == ["001.JPG"]
    assert test[0].mask.any()


def test_raw_trees_that_are_wrong(raw):
    table = raw / "split_csv" / "1cls.csv"
    shutil.rmtree(raw / "candle" / "Data" / "Images" / "Anomaly")
    with pytest.raises(FileNotFoundError, match=r"(?s)Anomaly/000\.JPG.*missing.*split_csv/1cls"):
        VisA(raw, "candle", "test")
    assert len(VisA(raw, "candle", "train")) == TRAIN - 5
    with pytest.raises(FileNotFoundError, match=r"(?s)pcb1' \(it is missing\).*split_csv"):
        VisA(raw, "pcb1")
    with pytest.raises(ValueError, match="'candle', 'capsules'"):
        VisA(raw, "capsule")
    (raw / "pcb1").mkdir()
    with pytest.raises(ValueError, match=r"images of 'pcb1' for 'train' in .*1cls\.csv"):
        VisA(raw, "pcb1")
    image = "candle/Data/Images/Normal/0000.JPG"
    columns = ["object", "split", "label", "image", "mask"]
    for row in (["candle", "train", "anomaly", image, ""], ["candle", "train", "odd", image, "x"]):
        write_table(table, columns, [row])
        with pytest.raises(ValueError, match="'anomaly' with a mask"):
            VisA(raw, "candle")
    write_table(table, columns[:4], [["candle", "train", "normal", image]])
    with pytest.raises(ValueError, match="columns object, split, label, image, mask"):
        VisA(raw, "candle")
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="readable table"):
        VisA(raw, "candle")
    table.unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)split_csv/1cls.csv'.*prepared.*1cls/candle"):
        VisA(raw, "candle")
    with pytest.raises(FileNotFoundError, match=r"1cls\.csv' \(it is missing\)"):
        VisA(raw, "candle", layout="raw")


@pytest.mark.parametrize("name", ["test/good", "test/bad", "ground_truth/bad", "train/good"])
def test_prepared_trees_that_are_wrong(prepared, name):
    shutil.rmtree(prepared / "1cls" / "candle" / name)
    split = "train" if name == "train/good" else "test"
    with pytest.raises(FileNotFoundError, match=rf"(?s){name}' \(it is missing\).*1cls/candle/"):
        VisA(prepared, "candle", split)


def test_root_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)nowhere'.*Data/Images/.*1cls/candle/"):
        VisA(tmp_path / "nowhere", "candle")
    with pytest.raises(ValueError, match="'val_fraction'"):
        VisA(tmp_path, "candle", val_fraction=1.0)


@pytest.mark.parametrize("column", ["image", "mask"])
@pytest.mark.parametrize("path", ["../secret.png", "candle/../../secret.png", "{}/secret.png"])
def test_tables_reach_no_files_outside_of_the_data_set(raw, column, path):
    outside = path.format(raw.parent)
    write_mask(raw.parent / "secret.png", mask(1))
    table = raw / "split_csv" / "1cls.csv"
    lines = table.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if "candle" in line and "anomaly" in line)
    cells = lines[number].split(",")
    cells[lines[0].split(",").index(column)] = outside
    table.write_text("\n".join([*lines[:number], ",".join(cells), *lines[number + 1 :]]))
    with pytest.raises(ValueError, match=rf"files below .*1cls\.csv' \(got '{outside}'"):
        VisA(raw, "candle", "test")
