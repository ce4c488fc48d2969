import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pyg_viglad.datasets import MVTecLOCO
from tests.datasets.trees.images import mask, write_mask
from tests.datasets.trees.mvtec_loco import CONFIG, write_mvtec_loco

PLACE = 3  # of logical_anomalies/000


@pytest.fixture
def folder(tmp_path):
    return write_mvtec_loco(tmp_path)


def open_test(folder):
    return MVTecLOCO(folder.parent, "pushpins", "test", image_size=32)


def mask_file(folder):
    return folder / "ground_truth" / "logical_anomalies" / "000" / "000.png"


def assert_every_reader_raises(folder, error, match):
    test = open_test(folder)
    for read in (
        lambda: test[PLACE],
        lambda: test.truths(PLACE),
        lambda: test.original_mask(PLACE),
        lambda: test.defects,
    ):
        with pytest.raises(error, match=match):
            read()
    assert test.truths(PLACE + 1)  # the others can be read


def test_mask_that_is_no_image(folder):
    mask_file(folder).write_bytes(b"nothing")
    assert_every_reader_raises(folder, ValueError, r"readable image.*000[/\\]000\.png")


def test_mask_that_is_cut_off(folder):
    content = mask_file(folder).read_bytes()
    mask_file(folder).write_bytes(content[: len(content) // 2])
    assert_every_reader_raises(folder, ValueError, r"readable image.*000[/\\]000\.png")


def test_mask_that_is_missing(folder):
    shutil.rmtree(mask_file(folder).parent)
    assert_every_reader_raises(folder, FileNotFoundError, "Expected a mask of")
    assert [path.name for path in open_test(folder).missing_masks()] == ["000.png"]


def test_mask_of_a_value_that_the_config_lacks(folder):
    write_mask(mask_file(folder), mask(99))
    assert_every_reader_raises(folder, ValueError, r"pixel_value.*\(got 99 in .*000\.png")


@pytest.mark.parametrize(
    ("pixels", "got"),
    [(mask(3, 0, 4) + mask(251, 6, 8), r"\[3, 251\]"), (mask(0), r"\[\]")],
)
def test_mask_of_several_values_or_none(folder, pixels, got):
    write_mask(mask_file(folder), pixels)
    assert_every_reader_raises(folder, ValueError, rf"one value besides 0.*got {got}")


def test_mask_of_another_size(folder):
    write_mask(mask_file(folder), mask(251, size=(34, 20)))
    assert_every_reader_raises(folder, ValueError, r"20x34 \(got 34x20\)")


def test_mask_with_colors(folder):
    Image.fromarray(np.full((20, 34, 3), 251, np.uint8)).save(mask_file(folder))
    assert_every_reader_raises(folder, ValueError, r"one channel.*RGB")


def test_config_that_is_missing(folder):
    (folder / "defects_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)defects_config\.json.*missing.*root/\n"):
        open_test(folder)
    MVTecLOCO(folder.parent, "pushpins", "train")  # which does not need it


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pixel_value": 3}, "3 twice"),
        ({"pixel_value": 0}, "pixel value from 1"),
        ({"pixel_value": 1.5}, "pixel value from 1"),
        ({"pixel_value": None}, "pixel value from 1"),
        ({"defect_name": ""}, "Expected a name"),
        ({"saturation_threshold": 0}, "saturation threshold"),
        ({"saturation_threshold": float("nan")}, "saturation threshold"),
        ({"saturation_threshold": 40, "relative_saturation": True}, "saturation threshold"),
        ({"saturation_threshold": 0.5}, "saturation threshold"),
        ({"relative_saturation": "no"}, "saturation threshold"),
    ],
)
def test_config_with_a_wrong_entry(folder, change, match):
    (folder / "defects_config.json").write_text(json.dumps([CONFIG[0] | change, *CONFIG[1:]]))
    with pytest.raises(ValueError, match=match) as caught:
        open_test(folder)
    assert "defects_config.json" in str(caught.value)


@pytest.mark.parametrize("content", ["[", "{}", "[]", "[1]", '[{"defect_name": "a"}]'])
def test_config_that_is_no_list_of_defects(folder, content):
    (folder / "defects_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"defects_config\.json"):
        open_test(folder)


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "train/good"),
        ("val", "validation/good"),
        ("test", "test/good"),
        ("test", "test/logical_anomalies"),
        ("test", "test/structural_anomalies"),
        ("test", "ground_truth"),
    ],
)
def test_folder_that_is_missing_or_empty(folder, split, name):
    shutil.rmtree(folder / name)
    with pytest.raises(FileNotFoundError, match=rf"(?s){name}' \(it is missing\).*root/\n"):
        MVTecLOCO(folder.parent, "pushpins", split)
    if name != "ground_truth":
        (folder / name).mkdir()
        with pytest.raises(ValueError, match=rf"(?s)images in '[^']*{name}'.*root/\n"):
            MVTecLOCO(folder.parent, "pushpins", split)


def test_arguments(folder):
    with pytest.raises(ValueError, match=r"'breakfast_box', .*got 'screws'"):
        MVTecLOCO(folder.parent, "screws")
    with pytest.raises(ValueError, match="'category'"):
        MVTecLOCO(folder, "")
    with pytest.raises(FileNotFoundError, match=r"(?s)screw_bag' \(it is missing\).*root/\n"):
        MVTecLOCO(folder.parent, "screw_bag")
    with pytest.raises(FileNotFoundError, match=r"(?s)nowhere' \(it is missing\).*root/\n"):
        MVTecLOCO(folder / "nowhere", "pushpins")
    with pytest.raises(ValueError, match="'split'"):
        MVTecLOCO(folder.parent, "pushpins", "all")
    with pytest.raises(ValueError, match="'image_size'"):
        MVTecLOCO(folder.parent, "pushpins", image_size=0)
