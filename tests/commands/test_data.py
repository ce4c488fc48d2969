import shutil

import pytest
import torch

from pyg_viglad import ViGLAD, commands
from pyg_viglad.commands.data import check, compare
from pyg_viglad.datasets import CheckRow, Problem
from tests.datasets.trees.full import write_full
from tests.datasets.trees.images import write_images


def test_compare_prints_a_table(tmp_path, capsys):
    write_full(tmp_path, "cad_sd")
    rows = compare("cad_sd", str(tmp_path))
    assert all(isinstance(row, CheckRow) for row in rows)
    title, row, note = capsys.readouterr().out.splitlines()
    assert title.split() == ["images", "train", "val", "good", "logical", "structural"]
    assert row.split() == ["screw", "328", "72", "210", "84", "82", "as", "expected"]
    assert note.startswith("  note: Table 1 of ViGLAD has 400, 72, 139 and 85")


def test_compare_shows_what_differs_and_fails(tmp_path, capsys):
    write_full(tmp_path, "mvtec_loco")
    shutil.rmtree(tmp_path / "pushpins")
    (tmp_path / "screw_bag" / "test" / "good" / "000.png").unlink()
    with pytest.raises(ValueError, match=r"2 of 5 categories: pushpins, screw_bag\)") as caught:
        compare("mvtec_loco", str(tmp_path))
    assert "\n" not in str(caught.value)
    out = capsys.readouterr().out
    assert "breakfast_box" in out
    assert ["pushpins", *5 * ["-"], "missing"] in [line.split() for line in out.splitlines()]
    assert "  ! 121 good images instead of 122" in out
    assert "  ! Expected the folder" in out


def test_a_folder_of_test_images_can_be_tested(tmp_path, capsys):
    write_images(tmp_path / "test" / "good", 2)
    write_images(tmp_path / "test" / "bad", 2)
    model = ViGLAD("small", 96, autoencoder="conv")
    model.fit_statistics(torch.rand(3, 3, 96, 96), torch.rand(2, 3, 96, 96))
    model.save_pretrained(tmp_path / "model")
    metrics = commands.test(str(tmp_path / "model"), str(tmp_path), str(tmp_path / "out"))
    assert metrics["images"] == {"structural": 2, "good": 2}
    assert "nan" not in capsys.readouterr().out


def test_check_notes_nothing_of_digits(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "digits", 1)  # a folder of the same name
    assert check("digits", data_options={"num_train": 8}) == []
    assert capsys.readouterr().out == "8 train images, 60 val images, 230 test images\n"


def test_check_prints_one_line_for_each_problem(tmp_path, capsys):
    write_images(tmp_path / "train", 8)
    assert check(str(tmp_path)) == [
        Problem("Expected at least 5 validation images for a reliable threshold (got 2)", False)
    ]
    (note, numbers) = capsys.readouterr().out.splitlines()
    assert note.startswith("note: Expected at least 5 validation images")
    assert numbers == "6 train images, 2 val images, 0 test images"
    write_images(tmp_path / "test" / "bad", 2)
    (tmp_path / "test" / "good").mkdir()
    (tmp_path / "train" / "000.png").write_bytes(b"")
    (tmp_path / "test" / "bad" / "001.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"ready for a training \(errors: 3\)"):
        check(str(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["error", "note", "error", "error"]
    assert "test/good' (got none)" in lines[0]
    assert "train/000.png" in lines[2]
    assert "bad/001.png" in lines[3]
