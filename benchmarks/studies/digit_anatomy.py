"""Digit Anatomy: which autoencoder and which losses, over several seeds, with one teacher.

Every combination of autoencoder, losses and seed is trained alike and judged on the same test images.
A run whose metrics.json is there is not repeated: an interrupted benchmark goes on where it was.

    python -m benchmarks.studies.digit_anatomy --data mnist.npz --autoencoders vig conv --iterations 3000
    python -m benchmarks.studies.digit_anatomy --losses paper efficientad --seeds 0 1 2
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.grid import Summary
from benchmarks.grid.tables import format_cell
from pyg_viglad.commands import train
from pyg_viglad.commands._report import SCORES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, or an .npz file of MNIST")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/digit_anatomy"))
    parser.add_argument("--autoencoders", nargs="+", default=["vig"], choices=["vig", "conv"])
    parser.add_argument("--losses", nargs="+", default=["paper"], choices=["paper", "efficientad"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for autoencoder, losses, seed in itertools.product(
        options.autoencoders, options.losses, options.seeds
    ):
        metrics = run(options, autoencoder, losses, seed)
        results.setdefault((autoencoder, losses), []).append(metrics)
        print_table(results, options)


def run(options: argparse.Namespace, autoencoder: str, losses: str, seed: int) -> dict[str, Any]:
    name = f"{Path(options.data).stem}-{autoencoder}-{losses}-{options.iterations}-seed{seed}"
    folder = options.output / name
    if not (folder / "metrics.json").is_file():
        train(
            data=options.data,
            output=str(folder),
            data_options={"seed": seed},
            size="small",
            image_size=options.image_size,
            autoencoder=autoencoder,  # type: ignore[arg-type]
            losses=losses,  # type: ignore[arg-type]
            node_scorer="gaussian",
            iterations=options.iterations,
            batch_size=options.batch_size,
            lr=options.lr,
            seed=seed,
            precision=options.precision,
            accelerator="cpu",
            devices="1",
        )
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def print_table(
    results: dict[tuple[str, str], list[dict[str, Any]]], options: argparse.Namespace
) -> None:
    print(f"\n{options.iterations} iterations, batch {options.batch_size}, {options.image_size} px")
    print("| autoencoder | losses | score | seeds | logical | structural | mean |")
    print("|---|---|---|---|---|---|---|")
    for (autoencoder, losses), runs in results.items():
        for score in SCORES:
            rows = [metrics["image_auroc"][score] for metrics in runs]
            cells = []
            for key in ("logical", "structural", "mean"):
                values = {seed: row[key] for seed, row in zip(options.seeds, rows, strict=False)}
                cells.append(format_cell(Summary.of(values), len(values)))
            label = f"| {autoencoder} | {losses} | {SCORES[score]} | {len(rows)} | "
            print(label + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
