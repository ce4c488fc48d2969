"""What is wrong with the files of a data set, found before a training."""

import numpy as np
import pytest
from PIL import Image

from pyg_viglad.datasets import (
    ImageFolder,
    MVTecLOCO,
    VisA,
    find_leftovers,
    find_problems,
    find_unreadable,
)
from tests.datasets.trees.images import mask, write_images, write_mask
from tests.datasets.trees.mvtec_loco import write_mvtec_loco
from tests.datasets.trees.visa import write_visa


@pytest.fixture
def tree(tmp_path):
    """A folder without a problem, with 20 training images, 5 of which validate."""
    write_images(tmp_path / "train" / "good", 20)
    write_images(tmp_path / "test" / "good", 2)
    write_images(tmp_path / "test" / "bad", 2)
    for name in ("000", "001_mask"):
        write_mask(tmp_path / "ground_truth" / "bad" / f"{name}.png", mask(255, 0, 5))
    return tmp_path


def splits(root, names=("train", "val", "test")):
    return {name: ImageFolder(root, name) for name in names}


def texts(problems, stops):
    found = list(problems)
    assert all(problem.stops == stops for problem in found)
    return [problem.text for problem in found]


def test_nothing(tree):
    (tree / "train" / "good" / "._a.png").touch()
    (tree / ".DS_Store").touch()
    (tree / "train" / ".cache").mkdir()
    assert list(find_problems(splits(tree))) == []
    assert list(find_leftovers(tree, splits(tree))) == []


def test_every_file_that_cannot_be_read_is_told(tree):
    names = ("train/good/003.png", "test/bad/000.png", "test/bad/001.png", "test/good/001.png")
    paths = [tree / name for name in names]
    paths[0].write_bytes(b"")
    Image.new("RGB", (40, 3)).save(paths[1])
    (tree / "ground_truth/bad/001_mask.png").unlink()
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    found = texts(find_problems(splits(tree)), stops=True)
    assert len(found) == 4
    assert all(str(path) in text for path, text in zip(paths, found, strict=True))
    assert "Expected a mask of" in found[2]
    told = list(find_unreadable(paths))  # of headers and checksums
    assert [path in text for path, text in zip(map(str, paths[::3]), told, strict=True)] == [1, 1]


def test_too_few_images(tmp_path):
    write_images(tmp_path, 2)
    train, val = find_problems(splits(tmp_path))
    assert train == ("Expected at least two training images (got 1)", True)
    assert val.text.startswith("Expected at least 5 validation images")
    assert not val.stops


def test_leftovers(tree):
    (tree / "train/good/notes.txt").touch()
    write_images(tree / "train" / "bad", 3)
    write_mask(tree / "ground_truth/bad/007.png", mask(255, 0, 5))
    write_mask(tree / "ground_truth/bad/000.png", mask(255, 0, 5, size=(10, 17)))
    Image.fromarray(np.zeros((20, 34), np.uint8)).save(tree / "test/bad/001.jpg")
    (tree / "validation").mkdir()
    (tree / "validation" / "images").mkdir()
    opened = splits(tree, ("train", "test"))
    opened["val"] = opened["train"]
    found = sorted(
        text.replace(str(tree), "") for text in texts(find_leftovers(tree, opened), False)
    )
    assert found == [
        "Expected different names (got '/test/bad/001.jpg' and '/test/bad/001.png')",
        "Expected files that are read in '/train/bad' (got '000.png' and 2 more)",
        "Expected files that are read in '/train/good' (got 'notes.txt')",
        "Expected images in '/validation/images' (got none)",
        "Expected masks with an image in '/ground_truth/bad' (got '007.png')",
        "Expected the mask '/ground_truth/bad/000.png' to be as large as its image, 20x34 (got 10x17)",
    ]


@pytest.mark.parametrize(
    ("write", "kind", "category"),
    [(write_mvtec_loco, MVTecLOCO, "pushpins"), (write_visa, VisA, "candle")],
)
def test_tables_that_data_sets_read_are_no_leftovers(tmp_path, write, kind, category):
    write(tmp_path)
    opened = {name: kind(tmp_path, category, name) for name in ("train", "val", "test")}
    folder = opened["test"].folder
    found = " ".join(problem.text for problem in find_leftovers(folder, opened))
    assert "defects_config.json" not in found
    assert "image_anno.csv" not in found
    assert (folder / "defects_config.json").exists() or (folder / "image_anno.csv").exists()


def test_images_of_a_split_that_could_not_be_opened_are_read(tree):
    for path in (tree / "test" / "good").iterdir():
        path.unlink()
    (tree / "test/bad/000.png").write_bytes(b"no image")
    found = texts(find_leftovers(tree, splits(tree, ("train", "val"))), stops=True)
    assert found[0] == f"Expected images in '{tree}/test/good' (got none)"
    assert len(found) == 2
    assert "bad/000.png" in found[1]
