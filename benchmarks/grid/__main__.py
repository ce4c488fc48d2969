"""``python -m benchmarks.grid``: data sets, models and seeds on a grid, with tables and figures."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.grid.cell import Cell
from benchmarks.grid.config import Grid, read_grid
from benchmarks.grid.results import build_tables, format_costs, read_results
from benchmarks.grid.run_cell import Outcome
from benchmarks.grid.run_grid import grid_states, run_grid
from pyg_viglad.commands.run import open_device
from pyg_viglad.files import write_text

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a mistake of the user ends in one line on standard error and exit code 1."""
    from jsonargparse import ArgumentParser

    description = (run.__doc__ or "").split("Args:")[0]
    parser = ArgumentParser(prog="python -m benchmarks.grid", description=description)
    parser.add_function_arguments(run, as_positional=True, skip={"only", "status"})
    parser.add_argument(
        "--only", nargs="+", help="run only cells whose folder's name contains a word"
    )
    parser.add_argument("--status", action="store_true", help="run nothing: tell what is missing")
    try:
        run(**parser.parse_args(arguments).as_dict())
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"benchmarks.grid: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("benchmarks.grid: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def run(
    grid: str,
    output: str | None = None,
    variables: dict[str, Any] | None = None,
    workers: int = 1,
    ray: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    only: list[str] | None = None,
    status: bool = False,
) -> dict[str, int]:
    """Runs every cell of a grid that is not done, and writes tables and figures.

    A cell is a data set, a category, a model and a seed. Its folder is named by what decides its result; it
    is done when its result.json is there: an interrupted grid resumes where it was. A cell that fails leaves
    error.txt, is tried again by the next run and does not stop the others.

    The output folder gets results.csv (one line per value), tables.md, tables.tex and the figures.

    Args:
        grid: The config, a YAML file such as those in benchmarks/configs.
        output: Output folder; by default runs/benchmarks/NAME.
        variables: Values for ${name} in the config, such as {"loco": "path/to/mvtec_loco"}.
        workers: Processes on this machine.
        ray: Run over Ray instead: the address of a cluster, auto (this machine's) or local (a new one).
        device: A torch device, or auto: a GPU where there is one.
        threads: Threads of each worker; by default all cores divided by the workers.
        only: Run only cells whose folder's name contains one of these words, such as ["patchcore"].
        status: Run nothing: tell what is done, what failed and what is missing, and write the tables.

    Returns:
        The numbers of cells: done, failed, missing.
    """
    config = read_grid(grid, variables, need_data=not status and ray is None)
    folder = Path(output or f"runs/benchmarks/{config.name}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected 'output' to be a folder (got the file '{folder}')")
    cells = [c for c in config.cells if not only or any(word in c.name for word in only)]
    if not cells:
        raise ValueError(f"Expected 'only' to name at least one cell (got {only})")
    if not status:
        chosen = _device(device, check=ray is None)
        folder.mkdir(parents=True, exist_ok=True)
        ended = sum(state.state == "done" for state in grid_states(cells, folder))
        print(f"{len(cells)} cells, {ended} of them done: {folder}", flush=True)

        def report(cell: Cell, outcome: Outcome) -> None:
            nonlocal ended
            ended += 1
            why = f": {outcome.message}" if outcome.message else ""
            print(f"[{ended}/{len(cells)}] {cell}: {outcome.state}{why}", flush=True)

        run_grid(cells, folder, workers, ray, chosen, threads, report)
    states = grid_states(cells, folder)
    counts = {name: sum(s.state == name for s in states) for name in ("done", "failed", "missing")}
    for file in _write_outputs(config, folder):
        print(file)
    print(", ".join(f"{number} {name}" for name, number in counts.items()))
    for state in states:
        if state.state != "done":
            why = f": {state.message}" if state.message else ""
            print(f"  {state.state}: {state.cell}{why}")
    if not status and counts["done"] < len(cells):
        raise ValueError(
            f"Expected every cell to finish (got {counts['done']} of {len(cells)}; run it again to resume)"
        )
    return counts


def _device(name: str, check: bool) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if check:  # over Ray the nodes may have what this machine lacks
        open_device(name)
    return name


def _write_outputs(grid: Grid, folder: Path) -> list[Path]:
    """Writes tables and figures of what is done; returns the files, none where nothing is done."""
    from benchmarks.grid.figures import draw_figures

    rows = read_results(grid, folder)
    if rows.empty:
        return []
    tables = build_tables(grid, rows)
    parts = [f"# {grid.name}\n", *(table.to_markdown() for table in tables), format_costs(rows)]
    missing = [s.cell for s in grid_states(grid.cells, folder) if s.state != "done"]
    if missing:
        named = "\n".join(f"- {cell}" for cell in missing)
        parts.append(f"Missing, {len(missing)} of {len(grid.cells)} cells:\n\n{named}\n")
    files = {
        "results.csv": rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "tables.md": "\n".join(parts),
        "tables.tex": "\n".join(t.to_latex(f"{grid.name}-{t.metric}") for t in tables),
    }
    for name, content in files.items():
        write_text(folder / name, content)
    return [*(folder / name for name in files), *draw_figures(grid, rows, folder)]


if __name__ == "__main__":
    main()
