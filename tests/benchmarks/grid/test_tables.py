"""Figures of the tables against sums done by hand."""

import math

import pytest

from benchmarks.grid import PUBLISHED, Cell, Column, Grid, build_tables, summarize, tidy_rows
from benchmarks.grid.format_tables import format_costs, format_latex, format_markdown
from benchmarks.grid.summarize import TidyRow

# Image AUROC (logical, structural) by category, model and seed.
VALUES = {
    ("screw_bag", "ViGLAD", 0): (0.80, 0.90),
    ("screw_bag", "ViGLAD", 1): (0.84, 0.92),
    ("screw_bag", "ViGLAD", 2): (0.85, 0.94),
    ("screw_bag", "PaDiM", 0): (0.50, 0.60),
    ("pushpins", "ViGLAD", 0): (0.90, 0.70),
    ("pushpins", "ViGLAD", 1): (0.96, 0.72),
    ("pushpins", "PaDiM", 0): (0.70, 0.60),
    ("pushpins", "PaDiM", 1): (0.71, 0.61),
    ("pushpins", "PaDiM", 2): (0.72, 0.62),
}


def cell(category, model, seed):
    return Cell("LOCO", category, model, seed, {})


def result(values):
    logical, structural = values
    return {
        "metrics": {
            "A": {"image_auroc": {"logical": logical, "structural": structural, "mean": None}},
            "A_r": {"image_auroc": {"logical": logical - 0.1, "structural": structural}},
            "map": {"au_spro@0.05": {"logical": logical / 2}},
        },
        "facts": {"iterations": 10},
        "seconds": {"fit": 2.0, "predict": 0.5},
        "images": {"train": 7, "validation": 3, "good": 2, "logical": 3},
        "environment": {"device": "cpu", "threads": 1},
    }


@pytest.fixture
def grid():
    cells = [
        cell(category, model, seed)
        for category in ("screw_bag", "pushpins")
        for model in ("ViGLAD", "PaDiM")
        for seed in range(3)
    ]
    columns = {
        "ViGLAD": Column("ViGLAD", "A"),
        "maps alone": Column("ViGLAD", "A_r"),
        "PaDiM": Column("PaDiM"),
        "GPDN": Column(missing="not built"),
    }
    tables = [
        {"metric": "image_auroc", "kinds": ["logical", "structural", "mean"]},
        {"metric": "au_spro@0.05", "kinds": ["logical"]},
    ]
    return Grid(
        "test",
        cells,
        columns,
        tables,
        ["viglad_table2"],
        datasets={"LOCO": "mvtec_loco"},
        averages=["LOCO"],
    )


@pytest.fixture
def results():
    return [(cell(*key), result(values)) for key, values in VALUES.items()]


def test_mean_and_standard_deviation_over_seeds(grid, results):
    found = summarize(
        grid, results, grid.columns["ViGLAD"], "LOCO", "screw_bag", "image_auroc", "logical"
    )
    mean = (0.80 + 0.84 + 0.85) / 3
    squares = (0.80 - mean) ** 2 + (0.84 - mean) ** 2 + (0.85 - mean) ** 2
    assert found.mean == pytest.approx(mean)
    assert found.std == pytest.approx(math.sqrt(squares / 2))
    assert found.seeds == (0, 1, 2)
    lower = summarize(
        grid, results, grid.columns["maps alone"], "LOCO", "screw_bag", "image_auroc", "logical"
    )
    assert lower.mean == pytest.approx(mean - 0.1)
    one = summarize(
        grid, results, grid.columns["PaDiM"], "LOCO", "screw_bag", "image_auroc", "logical"
    )
    assert (one.mean, one.n) == (0.5, 1)
    assert math.isnan(one.std)


def test_average_is_over_the_seeds_that_have_all_categories(grid, results):
    found = summarize(
        grid, results, grid.columns["ViGLAD"], "LOCO", "average", "image_auroc", "logical"
    )
    first, second = (0.80 + 0.90) / 2, (0.84 + 0.96) / 2
    assert found.seeds == (0, 1)
    assert found.mean == pytest.approx((first + second) / 2)
    assert found.std == pytest.approx(abs(first - second) / math.sqrt(2))
    without = [pair for pair in results if pair[0].category != "pushpins"]
    column = grid.columns["ViGLAD"]
    assert summarize(grid, without, column, "LOCO", "average", "image_auroc", "logical") is None


def test_maps_are_the_model_s_whatever_the_score(grid, results):
    found = summarize(
        grid, results, grid.columns["ViGLAD"], "LOCO", "pushpins", "au_spro@0.05", "logical"
    )
    assert found.mean == pytest.approx((0.45 + 0.48) / 2)


def test_unknown_score(grid, results):
    with pytest.raises(ValueError, match=r"among A, A_r, map .got 'B'."):
        summarize(
            grid, results, Column("ViGLAD", "B"), "LOCO", "pushpins", "image_auroc", "logical"
        )


def test_markdown(grid, results):
    first, second = build_tables(grid, results)
    lines = format_markdown(first).splitlines()
    assert lines[0].startswith(
        "Image AUROC in per cent, mean ± standard deviation (n - 1) over n = 3"
    )
    assert lines[2:4] == [
        "| data set | category | anomalies |  | ViGLAD | maps alone | PaDiM | GPDN |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    assert lines[4:7] == [
        "| LOCO | screw_bag | logical | measured | **83.0 ± 2.6** | 73.0 ± 2.6 | 50.0 (n = 1) | - |",
        "|  |  |  | ViGLAD, Table 2 | *81.8* | - | *48.8* | - |",
        # Two columns share the best: nobody's is bold.
        "|  |  | structural | measured | 92.0 ± 2.0 | 92.0 ± 2.0 | 60.0 (n = 1) | - |",
    ]
    average = [line for line in lines if "average" in line]
    assert average == [
        "|  | average | logical | measured | **87.5 ± 3.5 (n = 2)** | 77.5 ± 3.5 (n = 2) | "
        "60.0 (n = 1) | - |"
    ]
    assert "- GPDN: not built." in lines
    assert any(line.startswith("- ViGLAD, Table 2: Zoghlami et al.") for line in lines)
    assert not any("| mean |" in line for line in lines)  # of which there is no value
    assert "AU-sPRO, up to a false-positive rate of 0.05" in format_markdown(second)


def test_latex(grid, results):
    text = format_latex(build_tables(grid, results)[0], "test")
    assert r"\textbf{83.0 $\pm$ 2.6} & 73.0 $\pm$ 2.6 & 50.0 (n = 1) & --" in text
    assert r"LOCO & screw\_bag & logical & measured" in text
    assert r"\textit{81.8}" in text
    assert text.count("{") == text.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in line]
    assert {line.count("&") for line in rows} == {7}


def test_lines_of_missing_cells_stay(grid):
    rows = build_tables(grid, [])[0].rows
    assert {(row.category, row.kind) for row in rows} >= {
        ("screw_bag", "logical"),
        ("pushpins", "structural"),
        ("average", "logical"),
    }
    assert all(c is None for row in rows if row.source == "measured" for c in row.cells)


def test_tidy_rows(results):
    rows = list(tidy_rows(results))
    assert len(rows) == 9 * 5  # null is no value
    assert rows[0] == TidyRow(
        "LOCO",
        "screw_bag",
        "ViGLAD",
        0,
        "A",
        "image_auroc",
        "logical",
        0.8,
        2.0,
        0.5,
        results[0][0].key,
    )


def test_costs(results):
    lines = format_costs(results).splitlines()
    assert lines[-2] == "| LOCO | ViGLAD | 5 | 2.0 | 100.0 | 10 | cpu, 1 |"


def test_published_figures_as_they_are_read():
    table2 = PUBLISHED["viglad_table2"]
    # The row printed under CAD-SD is splicing connectors, the one without a label CAD-SD.
    assert table2.look_up("mvtec_loco", "splicing_connectors", "ViGLAD", "logical") == 92.43
    assert table2.look_up("cad_sd", "Screw", "ViGLAD", "logical") == 99.91
    means = {
        column: table2.look_up("mvtec_loco", "average", column, "logical")
        for column in ("ViGLAD", "PUAD", "EfficientAD", "PatchCore")
    }
    assert {column: round(value, 2) for column, value in means.items()} == {
        "ViGLAD": 91.04,
        "PUAD": 92.38,
        "EfficientAD": 86.97,
        "PatchCore": 51.64,
    }
    table3 = PUBLISHED["viglad_table3"]
    for column, mean in (("ViGLAD", 98.09), ("EfficientAD", 98.01), ("PUAD", 97.35)):
        value = table3.look_up("visa", "average", column, "structural")
        assert round(value, 2) == mean
    assert table3.look_up("visa", "pcb4", "ViGLAD", "structural") is None
    assert table2.look_up("mvtec_loco", "screw_bag", "ViGLAD", "structural") is None
    puad = PUBLISHED["puad"]
    assert round(puad.look_up("mvtec_loco", "average", "PUAD", "pooled"), 2) == 92.23
    assert puad.look_up("mvtec_loco", "average", "PUAD", "logical") is None
    loco = PUBLISHED["efficientad"].look_up("mvtec_loco", "average", "EfficientAD", "mean")
    assert loco == 90.7
