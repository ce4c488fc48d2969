import shutil

import pytest

from pyg_viglad.datasets import CADSD, MVTecAD, MVTecLOCO, VisA, check_data
from pyg_viglad.datasets.published_counts import EXPECTED
from tests.datasets.trees.full import write_full

# Table 1 of the paper: training, validation, good test images, anomalous ones (logical, if any).
TABLE_1 = {
    ("mvtec_loco", "screw_bag"): (360, 60, 122, 137),
    ("mvtec_loco", "breakfast_box"): (351, 62, 102, 83),
    ("mvtec_loco", "juice_bottle"): (335, 54, 94, 142),
    ("mvtec_loco", "pushpins"): (372, 69, 138, 91),
    ("mvtec_loco", "splicing_connectors"): (360, 60, 119, 108),
    ("visa", "candle"): (810, 90, 100, 100),
    ("visa", "capsules"): (488, 54, 60, 100),
    ("visa", "cashew"): (405, 45, 50, 100),
    ("visa", "chewinggum"): (408, 45, 50, 100),
    ("visa", "fryum"): (405, 45, 50, 100),
    ("visa", "macaroni1"): (810, 90, 100, 100),
    ("visa", "macaroni2"): (810, 90, 100, 100),
    ("visa", "pcb1"): (814, 90, 100, 100),
    ("visa", "pcb2"): (811, 90, 100, 100),
    ("visa", "pcb3"): (816, 90, 100, 100),
    ("visa", "pipe_fryum"): (405, 45, 50, 100),
    ("cad_sd", "screw"): (400, 72, 139, 85),
}
# All images, as the data sets' own papers and archives have them.
TOTALS = {
    "mvtec_loco": (1778, 305, 575, 561, 432),
    "visa": (8659, 962, 1200),
    "cad_sd": (400, 210, 84, 82),
    "mvtec_ad": (3629, 467, 1258),
}
# Categories of which a publication has other numbers than the files.
KNOWN = {
    "mvtec_loco": {"splicing_connectors"},
    "visa": {"pcb3", "pcb4"},
    "cad_sd": {"screw"},
    "mvtec_ad": set(),
}


def test_expected_counts_are_table_1_but_for_what_is_known():
    for (name, category), row in TABLE_1.items():
        counts = EXPECTED[name][category].counts
        ours = (counts.train, counts.val, counts.good, counts.logical or counts.structural)
        assert (ours != row) == ((name, category) in {("visa", "pcb3"), ("cad_sd", "screw")})
        if ours != row:
            assert EXPECTED[name][category].known
    named = {"mvtec_loco": MVTecLOCO, "visa": VisA, "cad_sd": CADSD, "mvtec_ad": MVTecAD}
    assert {name: cls.CATEGORIES for name, cls in named.items()} == {
        name: tuple(rows) for name, rows in EXPECTED.items()
    }


def test_expected_totals():
    sums = {
        name: [sum(column) for column in zip(*(row.counts for row in rows.values()), strict=True)]
        for name, rows in EXPECTED.items()
    }
    assert tuple(sums["mvtec_loco"]) == TOTALS["mvtec_loco"]
    for name in ("visa", "cad_sd", "mvtec_ad"):
        train, val, *tested = sums[name]
        assert (train + val, *(number for number in tested if number)) == TOTALS[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_full_trees_are_as_expected(tmp_path, name):
    write_full(tmp_path, name)
    rows = check_data(name, tmp_path)
    assert [row.category for row in rows] == list(EXPECTED[name])
    for row in rows:
        assert row.problems == []
        assert row.found == row.expected == EXPECTED[name][row.category].counts
    known = {row.category for row in rows if row.known}
    assert known == KNOWN[name]


def test_published_numbers_are_accepted(tmp_path):
    write_full(tmp_path, "mvtec_loco", ["splicing_connectors"])
    folder = tmp_path / "splicing_connectors"
    for name, numbers in (("train", range(354, 360)), ("validation", [59])):
        for number in numbers:
            (folder / name / "good" / f"{number:03d}.png").unlink()
    row = check_data("mvtec_loco", tmp_path)[-1]
    assert row.problems == []
    assert row.found[:2] == (354, 59)
    assert "354" in row.known
    (folder / "train" / "good" / "000.png").unlink()
    assert check_data("mvtec_loco", tmp_path)[-1].problems == [
        "353 train images instead of 360",
        "59 val images instead of 60",
    ]


def test_what_is_missing_is_named(tmp_path):
    write_full(tmp_path, "mvtec_loco", ["pushpins", "screw_bag"])
    (tmp_path / "pushpins" / "test" / "good" / "007.png").unlink()
    shutil.rmtree(tmp_path / "pushpins" / "ground_truth" / "logical_anomalies" / "005")
    shutil.rmtree(tmp_path / "screw_bag" / "validation")
    rows = {row.category: row for row in check_data("mvtec_loco", tmp_path)}
    assert rows["juice_bottle"].found is None
    assert len(rows["juice_bottle"].problems) == 1
    assert "juice_bottle' (it is missing)" in rows["juice_bottle"].problems[0]
    assert "\n" not in rows["screw_bag"].problems[0]
    assert "validation" in rows["screw_bag"].problems[0]
    good, masks = rows["pushpins"].problems
    assert good == "137 good images instead of 138"
    assert masks.startswith("images without a mask: 1, the first: ")
    assert masks.endswith("005.png")


def test_every_image_is_read_if_asked(tmp_path):
    write_full(tmp_path, "cad_sd")
    (row,) = check_data("cad_sd", tmp_path, read=True)
    train, val, tested = row.problems
    assert train.startswith("unreadable train images: 328, the first: Expected a readable image")
    assert val.startswith("unreadable val images: 72, ")
    assert tested.startswith("unreadable test images: 376, ")


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"'mvtec_loco', 'visa', 'cad_sd', 'mvtec_ad'.*'loco'"):
        check_data("loco", tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check_data("visa", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"(?s)breakfast_box.*missing.*root/\n"):
        check_data("mvtec_loco", tmp_path)
