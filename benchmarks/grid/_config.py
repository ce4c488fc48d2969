"""Parts of a benchmark's config, each checked with its place in the message."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pyg_viglad.commands._data import DatasetName

__all__ = [
    "DATA_KEYS",
    "KEYS",
    "as_categories",
    "as_columns",
    "as_mapping",
    "as_seeds",
    "as_tables",
    "check_keys",
    "check_root",
    "fill_variables",
]

KEYS = (
    "name",
    "variables",
    "shared",
    "seeds",
    "image_size",
    "metrics",
    "examples",
    "data",
    "models",
    "columns",
    "tables",
    "published",
    "figures",
)
DATA_KEYS = (
    "dataset",
    "root",
    "categories",
    "options",
    "reseed",
    "average",
    "models",
    "model_options",
)
KINDS = ("logical", "structural", "mean", "pooled")
_DATASETS = tuple(name for name in get_args(DatasetName) if name != "auto")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def as_mapping(value: Any, place: str) -> dict[str, Any]:
    """Check a mapping with names as keys."""
    if not isinstance(value, Mapping):
        raise ValueError(f"Expected a mapping in {place} (got {type(value).__name__})")
    return {str(key): item for key, item in value.items()}


def check_keys(found: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    """Refuse keys that nobody reads, by name."""
    for key in found:
        if key not in known:
            raise ValueError(f"Expected {', '.join(known)} in {place} (got {key!r})")


def fill_variables(value: Any, variables: Mapping[str, Any], place: str) -> Any:
    """Put values in the place of ``${name}``."""
    if isinstance(value, Mapping):
        return {key: fill_variables(item, variables, place) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_variables(item, variables, place) for item in value]
    if not isinstance(value, str):
        return value

    def look_up(name: str) -> Any:
        if name in variables:
            return variables[name]
        if name in os.environ:
            return os.environ[name]
        raise ValueError(
            f"Expected a value for ${{{name}}} in {place}: --variables.{name} VALUE (got none)"
        )

    whole = _VARIABLE.fullmatch(value)
    if whole:
        return look_up(whole[1])  # which may be null
    return _VARIABLE.sub(lambda match: str(look_up(match[1])), value)


def as_seeds(value: Any) -> list[int]:
    """Check a list of seeds."""
    seeds = value if isinstance(value, list) else [value]
    good = seeds and all(isinstance(s, int) and s >= 0 for s in seeds)
    if not good or len(set(seeds)) < len(seeds):
        raise ValueError(f"Expected 'seeds' as different whole numbers from 0 on (got {value})")
    return seeds


def as_categories(entry: Mapping[str, Any], data: str) -> dict[str, dict[str, Any]]:
    """Give the options of the data set for each category.

    ``categories`` is a list of the data set's own categories, ``all`` of them, or a mapping from a name
    to further options; without it the data set is one category.
    """
    from pyg_viglad.datasets import CADSD, MVTecAD, MVTecLOCO, VisA

    dataset = entry["dataset"]
    if dataset not in _DATASETS:
        names = ", ".join(_DATASETS)
        raise ValueError(f"Expected 'dataset' of data.{data} among {names} (got {dataset!r})")
    types: dict[str, Any] = {
        "mvtec_loco": MVTecLOCO,
        "mvtec_ad": MVTecAD,
        "visa": VisA,
        "cad_sd": CADSD,
    }
    common = as_mapping(entry.get("options") or {}, f"data.{data}.options")
    known = types[dataset].CATEGORIES if dataset in types else ()
    by_category = known and dataset != "cad_sd"
    found = entry.get("categories", "all")
    if isinstance(found, Mapping):
        return {
            str(name): {**common, **as_mapping(options or {}, f"data.{data}.categories.{name}")}
            for name, options in found.items()
        }
    if found == "all":
        found = list(known) or [data]
    elif not isinstance(found, list) or not found or not by_category:
        raise ValueError(
            f"Expected 'categories' of data.{data} as "
            f"{'a list, ' if by_category else ''}'all' or a mapping (got {found!r})"
        )
    if not by_category:
        return {str(name): dict(common) for name in found}
    return {str(name): {**common, "category": str(name)} for name in found}


def check_root(entry: Mapping[str, Any], data: str) -> None:
    """Check that a data set's files are there."""
    root = entry.get("root")
    bundled = entry["dataset"] == "digit_anatomy" and root in (None, "digits", "mnist")
    if not bundled and (root is None or not Path(str(root)).expanduser().exists()):
        raise FileNotFoundError(
            f"Expected the files of data.{data} ({entry['dataset']}) in its 'root' "
            f"(got {root!r}, which does not exist)"
        )


def as_columns(value: Any, models: list[str]) -> dict[str, dict[str, str]]:
    """Check the columns of the tables; by default each model with its first score."""
    if value is None:
        return {name: {"model": name} for name in models}
    columns = {}
    for name, entry in as_mapping(value, "columns").items():
        column = as_mapping(entry, f"columns.{name}")
        check_keys(column, ("model", "score", "missing"), f"columns.{name}")
        if "missing" not in column and column.get("model") not in models:
            raise ValueError(
                f"Expected 'model' of columns.{name} among {', '.join(models)} "
                f"(got {column.get('model')!r})"
            )
        columns[name] = {key: str(item) for key, item in column.items()}
    return columns


def as_tables(value: Any, metrics: list[str]) -> list[dict[str, Any]]:
    """Check metric and kinds of each table."""
    if value is None:
        return [{"metric": "image_auroc", "kinds": list(KINDS)}]
    tables = []
    for number, entry in enumerate(value if isinstance(value, list) else [value]):
        table = as_mapping(entry, f"tables.{number}")
        check_keys(table, ("metric", "kinds"), f"tables.{number}")
        metric = table.get("metric", "image_auroc")
        if metric.split("@")[0] not in metrics:
            raise ValueError(
                f"Expected 'metric' of tables.{number} among {', '.join(metrics)} (got {metric!r})"
            )
        tables.append({"metric": metric, "kinds": list(table.get("kinds", KINDS))})
    return tables
