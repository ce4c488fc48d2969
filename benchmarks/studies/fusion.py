"""Weights of the parts of ViGLAD's score: equal ones against those of pseudo-anomalies.

Takes saved models, fits their statistics again with fusion="pseudo" and each scorer of nodes, and prints
the image AUROC by kind of every part, of A + A_n with equal weights and of the weighted sum, and its weights.

    python -m benchmarks.studies.fusion runs/model --data real/transistor \
        --options '{"logical": ["misplaced"]}' --node-scorers gaussian
"""

import argparse
import json
from typing import Any

import pandas as pd
import torch

from benchmarks.grid import Scores, measure
from benchmarks.grid.results import format_value
from pyg_viglad.commands.data import Splits, open_data
from pyg_viglad.commands.report import predict_all
from pyg_viglad.models import ViGLAD


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="folders of saved models")
    parser.add_argument("--data", default="digits", help="see pyg-viglad train --help")
    parser.add_argument("--options", type=json.loads, default={}, help="of the data set, as JSON")
    parser.add_argument(
        "--node-scorers",
        nargs="+",
        default=["gaussian", "neighbors"],
        help="names, or arguments as JSON",
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for folder in args.models:
        saved = ViGLAD.from_pretrained(folder)
        splits = open_data(args.data, saved.image_size, args.options)
        for text in args.node_scorers:
            node_scorer = json.loads(text) if text.startswith("{") else text
            model = refit(saved, splits, node_scorer)
            weights = {name: round(weight, 2) for name, weight in model.fusion_weights.items()}
            print(f"\n{folder}, {model.node_scorer}: {weights}\n")
            print(
                compare(model, splits).to_markdown(index=False, disable_numparse=True), flush=True
            )


def refit(saved: ViGLAD, splits: Splits, node_scorer: Any) -> ViGLAD:
    """Returns a model of the same networks whose statistics are fitted for ``fusion="pseudo"``."""
    changes = {"teacher": saved.teacher, "fusion": "pseudo", "node_scorer": node_scorer}
    model = ViGLAD(**{**saved.config, **changes})
    for part in ("teacher_normalization", "student", "autoencoder"):
        model.get_submodule(part).load_state_dict(saved.get_submodule(part).state_dict())
    model.fit_statistics(splits.train, splits.validation)
    return model.eval()


def compare(model: ViGLAD, splits: Splits) -> pd.DataFrame:
    """Computes the AUROC by kind of every part and of both sums on the test images."""
    found = predict_all(model, splits.test, progress=False)
    images = {
        "A_r:local": found.local_map.amax((1, 2)),
        "A_r:global": found.global_map.amax((1, 2)),
        "A_r": found.reconstruction_score,
        "A_f": found.feature_score,
        "A": found.paper_score,
    }
    if found.node_score is not None and model.node_scale is not None:
        images["A_n"] = found.node_score
        images["A + A_n, equal weights"] = found.paper_score + model.node_scale(found.node_score)
    images["weights of pseudo-anomalies"] = found.score
    values = measure(Scores(images, None), splits.test, ["image_auroc", "defect_auroc"])
    rows = [
        {
            "score": name,
            **{
                kind: format_value(value)
                for kind, value in {**metrics["defect_auroc"], **metrics["image_auroc"]}.items()
            },
        }
        for name, metrics in values.items()
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
