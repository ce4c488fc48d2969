"""The config of a grid: data sets, models and seeds, and how their results are shown."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from benchmarks.grid.cell import Cell
from benchmarks.grid.detector import make_detector
from benchmarks.grid.measure import METRICS
from benchmarks.grid.published import PUBLISHED
from pyg_viglad import datasets
from pyg_viglad.commands.data import DatasetName

__all__ = ["Column", "DataEntry", "Grid", "TableEntry", "read_grid"]

KINDS = ("logical", "structural", "mean", "pooled")
T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A column of the tables: a model's score (default: its first)."""

    model: str = ""
    score: str = ""


@dataclass(frozen=True)
class TableEntry:
    """A table: its metric and the kinds of anomalies in its rows."""

    metric: str = "image_auroc"
    kinds: list[str] = field(default_factory=lambda: list(KINDS))


@dataclass(frozen=True)
class DataEntry:
    """A data set.

    Args:
        dataset: Its name, such as ``"mvtec_loco"``.
        root: Its folder, or ``"digits"``, ``"mnist"`` or an ``.npz`` file for Digit Anatomy
            and scattered digits.
        categories: Some of its own categories, ``"all"`` of them, or a mapping from names to further
            options. A data set without categories is one.
        options: Further arguments of the data set.
        reseed: Whether the data set is drawn or split by the seed.
        average: Whether tables have the mean over its categories.
        models: Names of the models that run on it (default: all).
        model_options: Other options for some models on this data set.
    """

    dataset: str = ""
    root: str | None = None
    categories: Any = "all"
    options: dict[str, Any] = field(default_factory=dict)
    reseed: bool = False
    average: bool = True
    models: list[str] | None = None
    model_options: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """A grid of cells, and how their results are shown.

    Args:
        name: Name of the grid, and of its output folder unless another is given.
        cells: Every combination of category, model and seed.
        columns: Columns of the tables by name.
        tables: The tables.
        published: Names of published figures to show beside.
        figures: ``"ablation"``, ``"anomaly_maps"``, both or none.
        data: The data sets by their names in tables.
    """

    name: str
    cells: list[Cell]
    columns: dict[str, Column]
    tables: list[TableEntry]
    published: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    data: dict[str, DataEntry] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the cells."""
        return sorted({cell.seed for cell in self.cells})

    def categories(self, data: str) -> list[str]:
        """Returns the categories of a data set."""
        return list(dict.fromkeys(cell.category for cell in self.cells if cell.data == data))


@dataclass(frozen=True)
class _Config:
    """The keys of a config file."""

    name: str = ""
    variables: Any = None
    shared: Any = None  # only for YAML anchors
    seeds: Any = (0,)
    image_size: Any = 256
    metrics: Any = ("image_auroc",)
    examples: bool = True
    data: Any = None
    models: Any = None
    columns: Any = None
    tables: Any = None
    published: Any = ()
    figures: Any = ()


def read_grid(
    path: str | os.PathLike[str],
    variables: Mapping[str, Any] | None = None,
    need_data: bool = True,
) -> Grid:
    """Reads and checks the config of a grid; see ``benchmarks/configs`` for examples.

    Args:
        path: A YAML file.
        variables: Values for ``${name}`` in it; then come its own ``variables``, then the
            environment.
        need_data: Whether the data have to be there (default: True).

    Raises:
        FileNotFoundError: If there is no such file, or no data.
        ValueError: If a key, a value or a model is not known, or a variable has no value.
    """
    import yaml

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"Expected the config of a benchmark (got '{file}', no file)")
    try:
        raw = _mapping(yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
    except yaml.YAMLError as error:
        raise ValueError(f"Expected YAML in '{file}' ({' '.join(str(error).split())})") from error
    own = _mapping(raw.pop("variables", None) or {}, "variables")
    raw.pop("shared", None)
    config = _build(_Config, _fill(raw, {**own, **dict(variables or {})}, file.name), file.name)
    for key in ("data", "models"):
        if not getattr(config, key):
            raise ValueError(f"Expected '{key}' in '{file.name}' (got none)")
    seeds = _list(config.seeds)
    if not all(isinstance(s, int) and s >= 0 for s in seeds) or len(set(seeds)) < max(
        1, len(seeds)
    ):
        raise ValueError(f"Expected 'seeds' as different integers of at least 0 (got {seeds})")
    metrics = _among(_list(config.metrics), METRICS, "'metrics'")
    models = {
        name: _mapping(model, f"models.{name}")
        for name, model in _mapping(config.models, "models").items()
    }
    data = {
        name: _build(DataEntry, entry, f"data.{name}")
        for name, entry in _mapping(config.data, "data").items()
    }
    columns = {
        name: _build(Column, entry, f"columns.{name}")
        for name, entry in _mapping(config.columns or {}, "columns").items()
    } or {name: Column(name) for name in models}
    for name, column in columns.items():
        _among([column.model], models, f"'model' of columns.{name}")
    tables = [TableEntry()]
    if config.tables is not None:
        tables = [
            _build(TableEntry, entry, f"tables.{number}")
            for number, entry in enumerate(_list(config.tables))
        ]
    for number, table in enumerate(tables):
        if table.metric.split("@")[0] not in metrics:
            _among([table.metric], metrics, f"'metric' of tables.{number}")
    common = {"metrics": metrics, "examples": bool(config.examples)}
    cells = []
    for name, entry in data.items():
        cells += _cells(name, entry, models, config.image_size, seeds, common)
        if need_data:
            _check_root(name, entry)
    return Grid(
        config.name or file.stem,
        cells,
        columns,
        tables,
        _among(_list(config.published), PUBLISHED, "'published'"),
        _among(_list(config.figures), ("ablation", "anomaly_maps"), "'figures'"),
        data,
    )


def _cells(
    data: str,
    entry: DataEntry,
    models: dict[str, dict[str, Any]],
    image_size: Any,
    seeds: list[int],
    common: dict[str, Any],
) -> list[Cell]:
    """Returns the cells of a data set; its detectors are made once, so that mistakes show early."""
    special = _mapping(entry.model_options, f"data.{data}.model_options")
    _among(special, models, f"data.{data}.model_options")
    chosen = {}
    for name in _among(entry.models or list(models), models, f"data.{data}.models"):
        options = {**models[name], **_mapping(special.get(name, {}), f"model_options.{name}")}
        side = options.pop("image_size", image_size)
        size = [side, side] if isinstance(side, int) else list(side)
        kind = {"type": str(options.pop("type", None)), **options}
        try:
            make_detector(kind["type"], (size[0], size[1]), **options)
        except (ValueError, TypeError) as error:
            raise ValueError(f"models.{name}: {error}") from error
        chosen[name] = {"image_size": size, "model": kind}
    fixed = {
        "dataset": entry.dataset,
        "root": str(entry.root or "digits"),
        "reseed": bool(entry.reseed),
        **common,
    }
    return [
        Cell(data, category, model, seed, {**fixed, "options": options, **params})
        for category, options in _categories(data, entry).items()
        for model, params in chosen.items()
        for seed in seeds
    ]


def _categories(data: str, entry: DataEntry) -> dict[str, dict[str, Any]]:
    """Returns the options of the data set for each category."""
    known = [name for name in get_args(DatasetName) if name != "auto"]
    _among([entry.dataset], known, f"'dataset' of data.{data}")
    classes: dict[str, Any] = {
        "mvtec_loco": datasets.MVTecLOCO,
        "mvtec_ad": datasets.MVTecAD,
        "visa": datasets.VisA,
    }
    common = _mapping(entry.options, f"data.{data}.options")
    found = entry.categories
    if isinstance(found, Mapping):
        return {
            str(name): {**common, **_mapping(options or {}, f"data.{data}.categories.{name}")}
            for name, options in found.items()
        }
    if entry.dataset in classes:
        names = classes[entry.dataset].CATEGORIES if found == "all" else found
        if isinstance(names, list | tuple) and names:
            return {str(name): {**common, "category": str(name)} for name in names}
    elif found == "all":
        return {data: common}
    forms = "a list, 'all' or a mapping" if entry.dataset in classes else "'all' or a mapping"
    raise ValueError(f"Expected 'categories' of data.{data} as {forms} (got {found!r})")


def _check_root(data: str, entry: DataEntry) -> None:
    drawn = entry.dataset in ("digit_anatomy", "scattered_digits")
    bundled = drawn and entry.root in (None, "digits", "mnist")
    if not bundled and (entry.root is None or not Path(entry.root).expanduser().exists()):
        raise FileNotFoundError(
            f"Expected the files of data.{data} ({entry.dataset}) in its 'root' "
            f"(got {entry.root!r}, which does not exist)"
        )


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"Expected a mapping in {place} (got {type(value).__name__})")
    return {str(key): item for key, item in value.items()}


def _among(values: Iterable[Any], known: Iterable[str], place: str) -> list[Any]:
    values, known = list(values), list(known)
    for value in values:
        if value not in known:
            raise ValueError(f"Expected {place} among {', '.join(known)} (got {value!r})")
    return values


def _build(kind: type[T], value: Any, place: str) -> T:
    """Builds a dataclass from a mapping without unknown keys."""
    entry = _mapping(value, place)
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for key in entry:
        if key not in known:
            raise ValueError(f"Expected {', '.join(known)} in {place} (got {key!r})")
    return kind(**entry)


def _fill(value: Any, variables: Mapping[str, Any], place: str) -> Any:
    """Replaces ``${name}`` by values."""
    if isinstance(value, Mapping):
        return {key: _fill(item, variables, place) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, variables, place) for item in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> Any:
        name = match[1]
        if name not in variables and name not in os.environ:
            raise ValueError(
                f"Expected a value for ${{{name}}} in {place}: --variables.{name} VALUE (got none)"
            )
        return variables[name] if name in variables else os.environ[name]

    whole = re.fullmatch(r"\$\{(\w+)\}", value)
    if whole:
        return look_up(whole)  # any type
    return re.sub(r"\$\{(\w+)\}", lambda match: str(look_up(match)), value)
