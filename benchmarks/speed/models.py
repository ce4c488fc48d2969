"""How large and how fast are the autoencoders of a grid's models, and how well do they detect?

Times the graph autoencoders of a config's ViGLAD models, forward and with their backward pass, at the
config's image size. With the folder of the grid's results, their AUROCs stand beside: means and standard
deviations over the seeds, of the paper's score A and of the global map, which alone depends on the graphs.

    python -m benchmarks.speed.models benchmarks/configs/digits_operators.yaml --results FOLDER
"""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from benchmarks.grid.config import read_grid
from benchmarks.grid.detector import make_detector
from benchmarks.grid.results import format_value
from benchmarks.speed.autoencoder import infer, train
from benchmarks.speed.timing import make_parser, markdown, of_ours, start, time_in_turns
from pyg_viglad import ViGAutoEncoder, ViGLAD

__all__ = ["aurocs", "autoencoders"]

SCORES = {"A": "A,", "A_r:global": "global map,"}
KINDS = ("logical", "structural", "mean")


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("config", type=Path)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--results", type=Path, default=None)
    args = parser.parse_args(arguments)
    start(args)
    networks = autoencoders(args.config)
    (side,) = {network.constructor.position.size(2) * 4 for network in networks.values()}
    images = torch.rand(args.batch_size, 3, side, side)
    first = next(iter(networks))
    parts = [
        of_ours(
            time_in_turns(
                {name: partial(run, one, images) for name, one in networks.items()}, args.rounds
            ),
            first,
            label,
        )
        for run, label in ((infer, "forward "), (train, "with backward "))
    ]
    table = parts[0].join(parts[1])
    weights = [sum(p.numel() for p in network.parameters()) for network in networks.values()]
    table.insert(0, "parameters (M)", [count / 1e6 for count in weights])
    if args.results is not None:
        found = aurocs(args.results / "results.csv")
        table = found.reindex(table.index).fillna("-").join(table)
    table.columns = [column.replace("of ours", "of the first") for column in table.columns]
    print(markdown(table, f"{side} x {side} pixels"))


def autoencoders(config: Path) -> dict[str, nn.Module]:
    """Returns the graph autoencoders of a grid's ViGLAD models by name."""
    networks: dict[str, nn.Module] = {}
    for cell in read_grid(config, need_data=False).cells:
        options = dict(cell.params["model"])
        if cell.model not in networks and options.pop("type") == "viglad":
            # What is not the training's is ViGLAD's.
            size = tuple(cell.params["image_size"])
            detector = make_detector("viglad", size, cell.seed, **options)
            model = ViGLAD(image_size=size, **detector.options)
            if isinstance(model.autoencoder, ViGAutoEncoder):
                networks[cell.model] = model.autoencoder
    return networks


def aurocs(path: Path) -> pd.DataFrame:
    """Returns image AUROCs in per cent from a grid's results, a row per model."""
    rows = pd.read_csv(path)
    rows = rows[(rows.metric == "image_auroc") & rows.score.isin(SCORES)]
    groups = rows.groupby(["model", "score", "kind"], sort=False).value
    texts = groups.agg(lambda values: format_value(values.mean(), values.std()))
    columns = {
        f"{title} {kind}": texts[:, score, kind]
        for score, title in SCORES.items()
        for kind in KINDS
    }
    return pd.DataFrame(columns)


if __name__ == "__main__":
    main()
