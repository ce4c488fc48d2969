import shutil

import pytest

from pyg_viglad.commands.data import check
from pyg_viglad.datasets import CheckRow
from tests.datasets.trees.full import write_full


def test_check_prints_a_table(tmp_path, capsys):
    write_full(tmp_path, "cad_sd")
    rows = check("cad_sd", str(tmp_path))
    assert all(isinstance(row, CheckRow) for row in rows)
    title, row, note = capsys.readouterr().out.splitlines()
    assert title.split() == ["images", "train", "val", "good", "logical", "structural"]
    assert row.split() == ["screw", "328", "72", "210", "84", "82", "as", "expected"]
    assert note.startswith("  note: Table 1 of ViGLAD has 400, 72, 139 and 85")


def test_check_shows_what_differs_and_fails(tmp_path, capsys):
    write_full(tmp_path, "mvtec_loco")
    shutil.rmtree(tmp_path / "pushpins")
    (tmp_path / "screw_bag" / "test" / "good" / "000.png").unlink()
    with pytest.raises(ValueError, match=r"2 of 5 categories: pushpins, screw_bag\)") as caught:
        check("mvtec_loco", str(tmp_path))
    assert "\n" not in str(caught.value)
    out = capsys.readouterr().out
    assert "breakfast_box" in out
    assert ["pushpins", *5 * ["-"], "missing"] in [line.split() for line in out.splitlines()]
    assert "  ! 121 good images instead of 122" in out
    assert "  ! Expected the folder" in out
