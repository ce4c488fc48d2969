"""Try the faults of every module in turn, and print what happened as one table in Markdown.

Ends with 1 where anything went wrong. A check that raises counts as wrong, and the others go on.

    python -m benchmarks.faults --only graphs images
"""

import argparse
import pkgutil
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import benchmarks.faults
from benchmarks.faults import Outcome
from pyg_viglad.files import write_text

NAMES = [m.name for m in pkgutil.iter_modules(benchmarks.faults.__path__) if m.name[0] != "_"]
HEADER = """\
| fault | repeats | outcome | failures |
|:------|--------:|:--------|---------:|"""
TITLE = """\
# Robustness tests

`make faults` writes this table; benchmarks/faults/ holds the tests.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="NAME")
    parser.add_argument("--repeats", type=int, help="how often each fault is tried")
    parser.add_argument("--output", type=Path, help="file for the table, such as docs/faults.md")
    args = parser.parse_args(arguments)
    start, lines, wrong = time.monotonic(), [HEADER], 0
    print(HEADER, flush=True)
    for name in args.only:
        for outcome in outcomes(name, args.repeats):
            cells = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in outcome]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
            wrong += outcome.wrong
    end = f"{wrong} failures in {(time.monotonic() - start) / 60:.1f} minutes."
    print(f"\n{end}")
    if args.output:
        write_text(args.output, "\n".join([TITLE, *lines, "", end, ""]))
    return int(wrong > 0)


def outcomes(name: str, repeats: int | None) -> Iterator[Outcome]:
    """Yields what one module finds, and its error if it raises one."""
    check = import_module(f"benchmarks.faults.{name}").check
    try:
        yield from check() if repeats is None else check(repeats)
    except Exception as error:
        traceback.print_exc()
        yield Outcome(f"the check of {name} itself", 1, f"{type(error).__name__}: {error}", 1)


if __name__ == "__main__":
    raise SystemExit(main())
