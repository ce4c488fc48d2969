"""Configs, and what is said of bad ones."""

from pathlib import Path

import pytest
import yaml

from benchmarks.grid import read_grid
from tests.benchmarks.grid.grids import MEAN, tiny, write_config

CONFIGS = Path(__file__).parents[3] / "benchmarks" / "configs"
ROOTS = dict.fromkeys(("loco", "visa", "cad_sd", "mnist", "real", "backbone_weights"), "somewhere")
ROOTS |= {"mobilenet": None, "efficientnet": None, "vgg": None}

# Cells: categories (5 + 1 + 3 of Table 2), models and seeds.
CELLS = {
    "table2": 9 * 5 * 5,
    "table3": 12 * 5 * 5,
    "table4": 2 * 5,
    "table5": 5,
    "table6": 4 * 5,
    "figure4": 4 * 5,
    "digits": 3 * 8 * 3,
    "digits_losses": 3 * 3,
    "digits_ablations": 4 * 3,
    "digits_operators": 10 * 3,
    "digits_graphs": 9 * 3,
    "digits_upsampling": 4 * 3,
    "digits_whitening": 7 * 3,
    "scattered": 3 * 8 * 3,
    "real": 3 * 12,
}


@pytest.mark.parametrize("name", CELLS)
def test_configs_of_the_paper(name):
    grid = read_grid(CONFIGS / f"{name}.yaml", ROOTS, need_data=False)
    assert grid.name == name
    assert len(grid.cells) == len({cell.key for cell in grid.cells}) == CELLS[name]
    known = {cell.model for cell in grid.cells}
    assert all(c.model in known for c in grid.columns.values())
    if name.startswith(("digits", "scattered", "real")):
        return
    for cell in grid.cells:
        model = cell.params["model"]
        if model["type"] == "viglad":
            assert (model["iterations"], model["batch_size"], model["lr"]) == (100_000, 1, 1e-4)
            assert (model["size"], cell.model) in (("medium", cell.model), ("small", "small"))
            digits = cell.params["dataset"] == "digit_anatomy"
            assert model.get("quantiles") == ([0.9, 0.999] if digits else None)
    assert grid.seeds == [0, 1, 2, 3, 4]


def test_no_config_is_left_out():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(CELLS)


def test_a_model_may_have_an_image_size_of_its_own(tmp_path):
    models = {"Mean": {"type": MEAN}, "Large": {"type": MEAN, "image_size": 128}}
    cells = read_grid(write_config(tmp_path, tiny(models, seeds=[0]))).cells
    assert [cell.params["image_size"] for cell in cells] == [[96, 96], [128, 128]]
    assert [cell.params["model"] for cell in cells] == [{"type": MEAN}] * 2


def test_variables(tmp_path, monkeypatch):
    models = {"Mean": {"type": MEAN, "log": "${folder}/log", "wait": "${wait}"}}
    path = write_config(tmp_path, tiny(models, variables={"wait": 0.5, "folder": "a"}))
    first = read_grid(path).cells[0].params["model"]
    assert (first["log"], first["wait"]) == ("a/log", 0.5)
    second = read_grid(path, {"folder": "b", "wait": None}).cells[0].params["model"]
    assert (second["log"], second["wait"]) == ("b/log", None)
    monkeypatch.setenv("folder", "c")
    assert read_grid(path).cells[0].params["model"]["log"] == "a/log"
    path = write_config(tmp_path, tiny(models, variables={"wait": 0.5}))
    assert read_grid(path).cells[0].params["model"]["log"] == "c/log"
    monkeypatch.delenv("folder")
    with pytest.raises(ValueError, match=r"\$\{folder\} in grid.yaml: --variables.folder VALUE"):
        read_grid(path)


def test_categories_and_options_of_a_data_set(tmp_path):
    config = tiny(seeds=[3])
    config["models"]["Other"]["wait"] = 0.0
    data = config["data"]["Digits"]
    data["categories"] = {"one": {}, "two": {"num_wrong_cells": 2}}
    data["model_options"] = {"Other": {"wait": 7.0}}
    data["models"] = ["Other"]
    cells = read_grid(write_config(tmp_path, config)).cells
    assert [(c.category, c.model, c.seed) for c in cells] == [
        ("one", "Other", 3),
        ("two", "Other", 3),
    ]
    assert "num_wrong_cells" not in cells[0].params["options"]
    assert cells[1].params["options"]["num_wrong_cells"] == 2
    assert cells[0].params["model"]["wait"] == 7.0


def broken(**changes):
    config = tiny()
    for place, value in changes.items():
        target = config
        *path, last = place.split("__")
        for key in path:
            target = target[key]
        target[last] = value
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modles": {}}, "Expected name, .* in grid.yaml .got 'modles'."),
        ({"models": {}}, "Expected 'models' in 'grid.yaml'"),
        ({"data": None}, "Expected 'data' in 'grid.yaml'"),
        ({"models__Mean__type": "resnet"}, "models.Mean: .*type 'viglad'.*got 'resnet'"),
        ({"models__Mean__kk": 3}, "models.Mean: Expected options of .*got 'kk'"),
        ({"models__Mean": {"type": "viglad", "iterations": "many"}}, "models.Mean: "),
        ({"data__Digits__catgories": []}, "in data.Digits .got 'catgories'."),
        ({"data__Digits__dataset": "imagenet"}, "'dataset' of data.Digits among .*'imagenet'"),
        ({"data__Digits__root": "no/such/place"}, "files of data.Digits .*'no/such/place'"),
        ({"data__Digits__categories": ["a"]}, "'categories' of data.Digits"),
        ({"data__Digits__models": ["Third"]}, "data.Digits.models among Mean, Other .*'Third'"),
        ({"data__Digits__model_options": {"Third": {}}}, "data.Digits.model_options .*'Third'"),
        ({"metrics": ["accuracy"]}, "'metrics' among .*'accuracy'"),
        ({"seeds": [0, 0]}, "'seeds'"),
        ({"seeds": [-1]}, "'seeds'"),
        ({"columns": {"X": {"model": "Third"}}}, "'model' of columns.X among Mean, Other"),
        ({"columns": {"X": {"modell": "Mean"}}}, "in columns.X .got 'modell'."),
        ({"tables": [{"metric": "au_pro"}]}, "'metric' of tables.0 among .*'au_pro'"),
        ({"published": ["table9"]}, "'published' among .*'table9'"),
        ({"figures": ["pie"]}, "'figures' among .*'pie'"),
        ({"models": ["Mean"]}, "Expected a mapping in models .got list."),
    ],
)
def test_errors_name_the_key(tmp_path, changes, message):
    path = write_config(tmp_path, broken(**changes))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_grid(path)
    assert "\n" not in str(caught.value)


def test_errors_of_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="config of a benchmark"):
        read_grid(tmp_path / "none.yaml")
    path = tmp_path / "grid.yaml"
    path.write_text("data: [1,\nmodels")
    with pytest.raises(ValueError, match=r"Expected YAML in '.*grid.yaml'") as caught:
        read_grid(path)
    assert "\n" not in str(caught.value)
    path.write_text(yaml.safe_dump([1]))
    with pytest.raises(ValueError, match="Expected a mapping in"):
        read_grid(path)
