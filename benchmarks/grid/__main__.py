"""``python -m benchmarks.grid``: data sets, models and seeds on a grid, with tables and figures."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
) -> dict[str, Any]:
    """Run every cell of a benchmark that is not done, and write its tables and figures.

    A cell is a data set, a category, a model and a seed. It has a folder of its own, named by what decides
    its result, and is done when its result.json is there: a benchmark that was interrupted goes on where
    it was. A cell that fails leaves error.txt, is tried again by the next run and does not stop the others.

    The output folder gets results.csv (one line for every value), tables.md, tables.tex and the figures.

    Args:
        grid: The config, a YAML file such as those in benchmarks/configs.
        output: Folder of the benchmark; by default runs/benchmarks/NAME.
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
    from benchmarks.grid.read_grid import read_grid
    from benchmarks.grid.run_grid import grid_states, run_grid

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
        before = sum(state.state == "done" for state in grid_states(cells, folder))
        print(f"{len(cells)} cells, {before} of them done: {folder}", flush=True)
        ended = [before]

        def report(cell: Any, outcome: Any) -> None:
            ended[0] += 1
            why = f": {outcome.message}" if outcome.message else ""
            print(f"[{ended[0]}/{len(cells)}] {cell}: {outcome.state}{why}", flush=True)

        run_grid(cells, folder, workers, ray, chosen, threads, report)
    states = grid_states(cells, folder)
    counts = {name: sum(s.state == name for s in states) for name in ("done", "failed", "missing")}
    if folder.is_dir():
        for file in write_outputs(config, folder):
            print(file)
    print(", ".join(f"{number} {name}" for name, number in counts.items()))
    for state in states:
        if state.state != "done":
            why = f": {state.message}" if state.message else ""
            print(f"  {state.state}: {state.cell}{why}")
    if not status and counts["done"] < len(cells):
        raise ValueError(
            f"Expected every cell to finish (got {counts['done']} of {len(cells)}; run it again to go on)"
        )
    return counts


def _device(name: str, check: bool) -> str:
    from pyg_viglad.commands._run import open_device

    if name == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if check:  # over Ray the nodes may have what this machine lacks
        open_device(name)
    return name


def write_outputs(config: Any, folder: Path) -> list[Path]:
    """Write results.csv, tables.md, tables.tex and the figures from what is done.

    Args:
        config: The benchmark.
        folder: Its folder.

    Returns:
        The files written; none where nothing is done.
    """
    import csv
    import io

    from benchmarks.grid.figures import draw_figures
    from benchmarks.grid.format_tables import format_costs, format_latex, format_markdown
    from benchmarks.grid.summarize import TidyRow, collect_results, tidy_rows
    from benchmarks.grid.tables import build_tables

    results = collect_results(config, folder)
    if not results:
        return []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TidyRow._fields)
    for row in tidy_rows(results):
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])
    tables = build_tables(config, results)
    missing = [str(c) for c in config.cells if c not in [cell for cell, _ in results]]
    parts = [f"# {config.name}\n", *(format_markdown(table) for table in tables)]
    parts.append(format_costs(results))
    if missing:
        named = "\n".join(f"- {name}" for name in missing)
        parts.append(f"Missing, {len(missing)} of {len(config.cells)} cells:\n\n{named}\n")
    latex = [format_latex(t, f"{config.name}-{t.metric}") for t in tables]
    files = {
        "results.csv": text.getvalue(),
        "tables.md": "\n".join(parts),
        "tables.tex": "\n".join(latex),
    }
    for name, content in files.items():
        write_text(folder / name, content)
    return [*(folder / name for name in files), *draw_figures(config, results, folder)]


if __name__ == "__main__":
    main()
