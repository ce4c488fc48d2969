"""Does image AUROC bear bfloat16, with statistics fitted in float32 and in bfloat16?

Refits the statistics of trained models in each precision, on the training and validation images of their
data sets, and scores the test images. The last columns compare scores with those of float32: the shift of
the good test images' mean and the largest difference, both in standard deviations of the float32 scores
of the validation images.

    python -m benchmarks.studies.precision --model runs/demo runs/screws --data digits screws
"""

import argparse
import json
from itertools import zip_longest

import pandas as pd
import torch

from pyg_viglad.commands.data import open_data
from pyg_viglad.commands.run import open_model
from pyg_viglad.metrics import image_auroc

_RUNS = (("float32", "float32"), ("float32", "bfloat16"), ("bfloat16", "bfloat16"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", required=True, help="folders of trained models")
    parser.add_argument("--data", nargs="+", required=True, help="data set of each model")
    parser.add_argument(
        "--options", nargs="*", default=[], type=json.loads, help="of each data set, as JSON"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    if len(args.model) != len(args.data):
        parser.error(
            f"Expected a data set for each model (got {len(args.data)}, {len(args.model)})"
        )
    torch.set_num_threads(args.threads)
    for model, data, options in zip_longest(args.model, args.data, args.options):
        table = compare(model, data, options).to_markdown(index=False, disable_numparse=True)
        print(f"{model}, {data}\n\n{table}\n", flush=True)


def compare(name: str, data: str, options: dict[str, object] | None) -> pd.DataFrame:
    """Returns AUROC in % and differences of scores, a row per precision of statistics and of scores."""
    model = open_model(name)
    splits = open_data(data, model.image_size, options)
    good = torch.tensor([kind == "good" for kind in splits.test.kinds])
    rows = []
    for fitted, judged in _RUNS:
        if model.precision != fitted or not rows:
            model.fit_statistics(splits.train, splits.validation, precision=fitted)
        found = model.predict(splits.test, precision=judged)
        if not rows:
            expected = found
            spread = model.predict(splits.validation).score.std()
        difference = (found.score - expected.score) / spread
        row = {"statistics": fitted, "scores": judged}
        for label, score in (("A", found.paper_score), ("score", found.score)):
            auroc = image_auroc(score, splits.test.kinds)
            row |= {f"{label}, {kind}": f"{100 * value:.2f}" for kind, value in auroc.items()}
        row["false alarms"] = f"{int(found.is_anomalous[good].sum())} of {int(good.sum())}"
        row["shift of good ones"] = f"{float(difference[good].mean()):+.3f}"
        row["largest difference"] = f"{float(difference.abs().max()):.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
