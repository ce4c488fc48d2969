"""Run the scripts of speed and memory, and write their tables into RESULTS.md.

Each script's output is kept in ``--runs`` as NAME-THREADS.md; with ``--resume`` those that are there are not
run again. The tables stand between two markers, at the end if the markers are not there yet. What follows
``--`` is handed to every script.

    python -m benchmarks.speed.collect --threads 1 2
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from pyg_viglad.files import write_text

__all__ = ["BEGIN", "END", "NAMES"]

NAMES = (
    "knn",
    "aggregation",
    "autoencoder",
    "pyramid",
    "memory",
    "train_step",
    "latency",
)
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    own = list(sys.argv[1:] if arguments is None else arguments)
    cut = own.index("--") if "--" in own else len(own)
    own, handed = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/bench"))
    parser.add_argument("--results", type=Path, default=_ROOT / "benchmarks" / "RESULTS.md")
    parser.add_argument("--resume", action="store_true", help="keep outputs that are there")
    args = parser.parse_args(own)
    args.runs.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in args.only:
        for threads in args.threads:
            path = args.runs / f"{name}-{threads}.md"
            if not (args.resume and path.is_file()):
                print(f"{name}, {threads} threads ...", file=sys.stderr, flush=True)
                output = run(name, threads, handed)
                if output is None:
                    failed.append(path.stem)
                    continue
                write_text(path, output)
            insert(args.results, sections(args.runs))  # after each: an interruption loses nothing
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def run(name: str, threads: int, handed: list[str]) -> str | None:
    """Returns what the script prints, or ``None`` if it fails; its errors are shown."""
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.speed.{name}", "--threads", str(threads), *handed],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, **dict.fromkeys(libraries, str(threads))},
    )
    return done.stdout if done.returncode == 0 else None


def sections(runs: Path) -> str:
    """Joins all outputs that are there, in the order of the names, then of the threads."""
    parts = ["## Speed and memory"]
    for name in NAMES:
        for path in sorted(
            runs.glob(f"{name}-*.md"), key=lambda path: int(path.stem.split("-")[-1])
        ):
            threads = path.stem.split("-")[-1]
            parts.append(f"### {name}, {threads} thread{'s' * (threads != '1')}")
            parts.append(f"    python -m benchmarks.speed.{name} --threads {threads}")
            parts.append(path.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts)


def insert(results: Path, text: str) -> None:
    """Replaces what is between the markers."""
    whole = results.read_text(encoding="utf-8") if results.is_file() else ""
    if BEGIN not in whole:
        whole = f"{whole.rstrip()}\n\n{BEGIN}\n{END}\n".lstrip()
    before, _, rest = whole.partition(BEGIN)
    if END not in rest:
        raise ValueError(f"Expected {END} behind {BEGIN} in {results} (got none)")
    after = rest.partition(END)[2]
    write_text(results, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
