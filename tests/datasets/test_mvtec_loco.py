import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import MVTecLOCO
from tests.datasets.trees.images import SIZE, mask, write_mask
from tests.datasets.trees.mvtec_loco import CONFIG, MASKS, write_mvtec_loco


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("loco")
    write_mvtec_loco(path)
    return path


@pytest.fixture
def test(root):
    return MVTecLOCO(root, "pushpins", "test", image_size=(30, 51))


PLACE = 3  # of logical_anomalies/000


@pytest.fixture
def folder(tmp_path):
    return write_mvtec_loco(tmp_path)


def expected(name):
    return MASKS.get(name.removeprefix("test/").removesuffix(".png"), [])


def test_splits_are_the_folders(root, test):
    train, val = (MVTecLOCO(root, "pushpins", split) for split in ("train", "validation"))
    assert (len(train), len(val), len(test)) == (6, 2, 8)
    assert train.names[0] == "train/good/000.png"
    assert val.names == ["validation/good/000.png", "validation/good/001.png"]
    assert set(train.kinds + val.kinds) == {"good"}
    assert test.kinds == 3 * ["good"] + 3 * ["logical"] + 2 * ["structural"]
    item = train[0]
    assert item.img.shape == (1, 3, 256, 256)
    assert "mask" not in item
    assert train.truths(0) == []


def test_defects_are_named_by_the_masks(root, test):
    wanted = [",".join(dict.fromkeys(name for _, name, _ in expected(n))) for n in test.names]
    assert wanted[5] == "missing_pushpin,color"
    assert test.defects == wanted
    # An item knows its defects whether or not all were asked for.
    fresh = MVTecLOCO(root, "pushpins", "test")
    assert [item.defect for item in fresh] == wanted
    assert [item.kind for item in fresh] == fresh.kinds


def test_truths_are_single_defects_at_the_original_size(test):
    assert sum(len(test.truths(place)) for place in range(8)) == 8
    for place, name in enumerate(test.names):
        truths = test.truths(place)
        assert len(truths) == len(expected(name))
        for (region, area), (pixels, _, wanted) in zip(truths, expected(name), strict=True):
            assert region.dtype == torch.bool
            assert np.array_equal(region.numpy(), pixels > 0)
            assert type(area) is int
            assert area == wanted
        assert test.original_size(place) == SIZE


def test_masks_are_the_union(test):
    for place, name in enumerate(test.names):
        union = np.zeros(SIZE, bool)
        for pixels, _, _ in expected(name):
            union |= pixels > 0
        assert np.array_equal(test.original_mask(place).numpy(), union)
        item = test[place]
        assert item.mask.shape == (1, 30, 51)
        assert item.mask.dtype == torch.bool
        assert item.img.shape == (1, 3, 30, 51)
        assert int(item.y) == int(union.any())
        # Enlarged by one and a half; each target pixel shows the source pixels it touches.
        rows, columns = (np.arange(n) / 1.5 for n in (30, 51))
        grown = np.zeros((30, 51), bool)
        for top in (np.floor(rows), np.ceil(rows + 1 / 1.5) - 1):
            for left in (np.floor(columns), np.ceil(columns + 1 / 1.5) - 1):
                grown |= union[np.ix_(top.astype(int), left.astype(int))]
        assert np.array_equal(item.mask[0].numpy(), grown)


def test_small_defects_survive_a_small_image_size(root):
    item = MVTecLOCO(root, "pushpins", "test", image_size=4)[5]
    assert item.mask[0, -1, -1]


def test_subsets_count_from_their_own_start(test):
    part = test[4:]
    assert part.names == test.names[4:]
    assert part.kinds == test.kinds[4:]
    assert part.defects == test.defects[4:]
    assert part.paths == test.paths[4:]
    assert len(part.truths(1)) == len(expected("logical_anomalies/002")) == 3
    assert torch.equal(part.original_mask(-1), test.original_mask(7))
    assert torch.equal(part.images, test.images[4:])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_single_defects(root, workers):
    test = MVTecLOCO(root, "pushpins", "test", image_size=32, defect_masks=True)
    mixed = test[[0, 3, 1, 4, 5]]
    loader = DataLoader(mixed, 5, follow_batch=["defect_mask"], num_workers=workers)
    batch = next(iter(loader))
    assert batch.img.shape == (5, 3, 32, 32)
    assert batch.mask.shape == (5, 32, 32)
    assert batch.defect_mask.shape == (6, *SIZE)
    assert batch.defect_mask_batch.tolist() == [1, 1, 3, 4, 4, 4]
    assert batch.saturation_area.tolist() == [40, 50, 16, 4, 40, 1]
    assert batch.defect_names[1] == ["missing_pushpin", "additional_pushpin"]
    assert batch.defect == mixed.defects
    assert batch[0].defect_mask.shape == (0, *SIZE)
    assert torch.equal(batch[3].defect_mask[0], test.truths(4)[0][0])
    assert "defect_mask" not in MVTecLOCO(root, "pushpins", "test")[3]


def test_transform_sees_the_item(root):
    seen = MVTecLOCO(root, "pushpins", "test", transform=lambda data: (data.name, data.defect))
    assert seen[4] == ("test/logical_anomalies/001.png", "extra_cable")


def test_own_category_of_the_same_layout(tmp_path):
    write_mvtec_loco(tmp_path, "my_product")
    assert len(MVTecLOCO(tmp_path, "my_product", "test")) == 8


def write(*arguments, **options):
    return lambda file: write_mask(file, mask(*arguments, **options))


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (
            lambda file: file.write_bytes(b"nothing"),
            ValueError,
            r"readable image.*000[/\\]000\.png",
        ),
        (
            lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
            ValueError,
            r"readable image.*000[/\\]000\.png",
        ),
        (lambda file: shutil.rmtree(file.parent), FileNotFoundError, "Expected a mask of"),
        (
            lambda file: Image.fromarray(np.full((*SIZE, 3), 251, np.uint8)).save(file),
            ValueError,
            "one channel.*RGB",
        ),
        (write(99), ValueError, r"pixel_value.*\(got 99 in .*000\.png"),
        (
            lambda file: write_mask(file, mask(3, 0, 4) + mask(251, 6, 8)),
            ValueError,
            r"one value besides 0.*got \[3, 251\]",
        ),
        (write(0), ValueError, r"one value besides 0.*got \[\]"),
        (write(251, size=(34, 20)), ValueError, r"20x34 \(got 34x20\)"),
    ],
)
def test_every_reader_names_a_mask_that_is_wrong(folder, spoil, error, match):
    spoil(folder / "ground_truth" / "logical_anomalies" / "000" / "000.png")
    test = MVTecLOCO(folder.parent, "pushpins", "test", image_size=32)
    for read in (
        lambda: test[PLACE],
        lambda: test.truths(PLACE),
        lambda: test.original_mask(PLACE),
        lambda: test.defects,
    ):
        with pytest.raises(error, match=match):
            read()
    assert test.truths(PLACE + 1)  # the others can be read
    missing = ["000.png"] if error is FileNotFoundError else []
    assert [path.name for path in test.missing_masks()] == missing


def test_config_that_is_missing(folder):
    (folder / "defects_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)defects_config\.json.*missing.*root/\n"):
        MVTecLOCO(folder.parent, "pushpins", "test")
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
        MVTecLOCO(folder.parent, "pushpins", "test")
    assert "defects_config.json" in str(caught.value)


@pytest.mark.parametrize("content", ["[", "{}", "[]", "[1]", '[{"defect_name": "a"}]'])
def test_config_that_is_no_list_of_defects(folder, content):
    (folder / "defects_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"defects_config\.json"):
        MVTecLOCO(folder.parent, "pushpins", "test")


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
