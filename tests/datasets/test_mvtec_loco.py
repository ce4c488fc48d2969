import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import MVTecLOCO
from tests.datasets.trees.images import SIZE
from tests.datasets.trees.mvtec_loco import MASKS, write_mvtec_loco


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("loco")
    write_mvtec_loco(path)
    return path


@pytest.fixture
def test(root):
    return MVTecLOCO(root, "pushpins", "test", image_size=(30, 51))


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
        for (mask, area), (pixels, _, wanted) in zip(truths, expected(name), strict=True):
            assert mask.dtype == torch.bool
            assert np.array_equal(mask.numpy(), pixels > 0)
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
