"""The config of a benchmark."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.grid._config import (
    DATA_KEYS,
    KEYS,
    as_categories,
    as_columns,
    as_mapping,
    as_seeds,
    as_tables,
    check_keys,
    check_root,
    fill_variables,
)
from benchmarks.grid.cell import Cell
from benchmarks.grid.make_detector import make_detector
from benchmarks.grid.measure import check_metrics
from benchmarks.grid.published import PUBLISHED

__all__ = ["Column", "Grid", "read_grid"]


@dataclass(frozen=True)
class Column:
    """One column of the tables: a score of a model, or what is missing and why."""

    model: str = ""
    score: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Grid:
    """A benchmark: its cells, and how they are shown.

    Args:
        name: Name of the benchmark, and of its output folder unless another is given.
        cells: Every combination of category, model and seed.
        columns: Columns of the tables by name.
        tables: ``metric`` and ``kinds`` of each table.
        published: Names of published figures to show beside.
        figures: ``ablation`` and ``anomaly_maps``, or fewer.
        datasets: Identifier of each data set by its name in tables.
        averages: Names of the data sets whose categories are averaged.
    """

    name: str
    cells: list[Cell]
    columns: dict[str, Column]
    tables: list[dict[str, Any]]
    published: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    averages: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """All seeds of the cells."""
        return sorted({cell.seed for cell in self.cells})


def read_grid(
    path: str | os.PathLike[str],
    variables: Mapping[str, Any] | None = None,
    need_data: bool = True,
) -> Grid:
    """Read and check the config of a benchmark; see ``benchmarks/configs`` for examples.

    Args:
        path: A YAML file.
        variables: Values for ``${name}`` in it; then come its own ``variables``, then the
            environment.
        need_data: Whether the data have to be there.

    Raises:
        FileNotFoundError: If there is no such file, or no data.
        ValueError: If a key, a value or a model is not known, or a variable has no value.
    """
    import yaml

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"Expected the config of a benchmark (got '{file}', no file)")
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected YAML in '{file}' ({reason})") from error
    config = as_mapping(raw, str(file))
    check_keys(config, KEYS, file.name)
    for key in ("data", "models"):
        if not config.get(key):
            raise ValueError(f"Expected '{key}' in '{file.name}' (got none)")
    config.pop("shared", None)  # only there for anchors
    own = as_mapping(config.pop("variables", None) or {}, "variables")
    config = fill_variables(config, {**own, **dict(variables or {})}, file.name)

    config["models"] = {
        name: as_mapping(model, f"models.{name}")
        for name, model in as_mapping(config["models"], "models").items()
    }
    config["data"] = {
        name: as_mapping(entry, f"data.{name}")
        for name, entry in as_mapping(config["data"], "data").items()
    }
    metrics = check_metrics(config.get("metrics", ["image_auroc"]))
    cells: list[Cell] = []
    for data, entry in config["data"].items():
        check_keys(entry, DATA_KEYS, f"data.{data}")
        if "dataset" not in entry:
            raise ValueError(f"Expected 'dataset' in data.{data} (got none)")
        found = _cells(config, data, metrics)
        if need_data:
            check_root(entry, data)
        cells += found
    averages = [
        data
        for data, entry in config["data"].items()
        if entry.get("average", True) and len({c.category for c in cells if c.data == data}) > 1
    ]
    published = list(config.get("published") or [])
    check_keys(dict.fromkeys(published), tuple(PUBLISHED), f"{file.name}: published")
    figures = list(config.get("figures") or [])
    check_keys(dict.fromkeys(figures), ("ablation", "anomaly_maps"), f"{file.name}: figures")
    columns = as_columns(config.get("columns"), list(config["models"]))
    return Grid(
        str(config.get("name", file.stem)),
        cells,
        {name: Column(**column) for name, column in columns.items()},
        as_tables(config.get("tables"), metrics),
        published,
        figures,
        {data: entry["dataset"] for data, entry in config["data"].items()},
        averages,
    )


def _cells(config: Mapping[str, Any], data: str, metrics: list[str]) -> list[Cell]:
    """Give every cell of a data set."""
    entry, models = config["data"][data], config["models"]
    special = as_mapping(entry.get("model_options") or {}, f"data.{data}.model_options")
    check_keys(special, tuple(models), f"data.{data}.model_options")
    chosen = entry.get("models", list(models))
    for model in chosen:
        if model not in models:
            raise ValueError(
                f"Expected data.{data}.models among {', '.join(models)} (got {model!r})"
            )
    described = {m: _with_size({**models[m], **(special.get(m) or {})}, config) for m in chosen}
    common = {
        "dataset": entry["dataset"],
        "root": str(entry.get("root", "digits")),
        "reseed": bool(entry.get("reseed", False)),
        "metrics": metrics,
        "examples": bool(config.get("examples", True)),
    }
    for model, (size, model_options) in described.items():
        _check_model(model, model_options, size)
    return [
        Cell(
            data,
            category,
            model,
            seed,
            {
                **common,
                "image_size": described[model][0],
                "options": options,
                "model": described[model][1],
            },
        )
        for category, options in as_categories(entry, data).items()
        for model in chosen
        for seed in as_seeds(config.get("seeds", [0]))
    ]


def _with_size(
    model: dict[str, Any], config: Mapping[str, Any]
) -> tuple[list[int], dict[str, Any]]:
    """Split a model's own image size, by default the benchmark's, from its options."""
    options = dict(model)
    side = options.pop("image_size", config.get("image_size", 256))
    return [side, side] if isinstance(side, int) else list(side), options


def _check_model(name: str, model: Mapping[str, Any], size: list[int]) -> None:
    """Make the detector, without its networks, so that mistakes show before anything runs."""
    options = dict(model)
    kind = options.pop("type", None)
    try:
        make_detector(str(kind), (size[0], size[1]), **options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"models.{name}: {error}") from error
