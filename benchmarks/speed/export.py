"""Accuracy and latency of exported programs.

Exports a trained detector, judges all test images with every program, one at a time, and times that: the
model, its torch.export program, with --compile that program compiled by Inductor, and ONNX by onnxruntime.
The model's batches of eight images show what rounding alone changes. With --image-size an untrained
detector of that size judges noise: for times.

    pyg-viglad demo
    python -m benchmarks.speed.export --model runs/demo --data digits --threads 1
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor

from benchmarks.speed.timing import make_parser, markdown, start, time_in_turns
from pyg_viglad import ViGLAD
from pyg_viglad.commands.data import DatasetName, open_data
from pyg_viglad.commands.run import open_model
from pyg_viglad.models import Prediction


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=30)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--model", default="runs/demo", help="folder of a run")
    parser.add_argument("--data", default="digits", help="see pyg-viglad train --help")
    parser.add_argument("--dataset", choices=get_args(DatasetName), default="auto")
    parser.add_argument("--options", type=json.loads, default={}, help="of the data set, as JSON")
    parser.add_argument("--image-size", type=int, help="of an untrained detector instead")
    parser.add_argument("--compile", action="store_true", help="takes minutes, and a C++ compiler")
    args = parser.parse_args(arguments)
    start(args)
    if args.image_size is None:
        model = open_model(args.model)
        splits = open_data(args.data, model.image_size, args.options, args.dataset)
        images, normal = splits.test.images, splits.validation.images
    else:
        model = ViGLAD("small", args.image_size)
        images, normal = torch.rand(2, 8, 3, args.image_size, args.image_size)
        model.fit_statistics(images, normal)
    spread = float(model.predict(normal).score.std())
    print(f"{len(images)} test images, {model}\n")
    with TemporaryDirectory() as folder:
        files = [model.export(Path(folder) / name) for name in ("model.pt2", "model.onnx")]
        megabytes = [file.stat().st_size / 1e6 for file in files]
        program = torch.export.load(files[0]).module()
        programs: dict[str, tuple[float, Callable[[Tensor], Any]]] = {
            "model": (size_of(model), lambda images: take(model(images))),
            "torch.export": (megabytes[0], program),
            "ONNX, onnxruntime": (megabytes[1], run_onnx(files[1], args.threads)),
        }
        if args.compile:
            programs["torch.export, compiled"] = (megabytes[0], torch.compile(program))
        outputs = {"model, eight at once": take(model.predict(images))}
        with torch.inference_mode():
            for name, (_, function) in programs.items():
                # One at a time, as it is timed: a compiled program is compiled once.
                parts = [function(image[None]) for image in images]
                outputs[name] = tuple(torch.cat([part[i] for part in parts]) for i in (0, 1))
            runs = {name: lambda f=f: f(images[:1]) for name, (_, f) in programs.items()}
            times = time_in_turns(runs, args.rounds, args.warmup)
    faster = times.rdiv(times["model"], axis=0).median()
    expected = outputs["model"]
    rows = {}
    for name in (*programs, "model, eight at once"):
        score, anomaly_map = outputs[name]
        difference = (score - expected[0]).abs() / spread
        other = (score > model.threshold) != (expected[0] > model.threshold)
        timed = name in programs
        rows[name] = {
            "MB": f"{programs[name][0]:.1f}" if timed else "",
            "ms": f"{times[name].median():.2f}" if timed else "",
            "times faster": f"{faster[name]:.2f}x" if timed else "",
            "difference of scores, in spreads: median": f"{float(difference.median()):.1e}",
            "largest": f"{float(difference.max()):.1e}",
            "images above 1e-4": str(int((difference > 1e-4).sum())),
            "largest of maps": f"{float((anomaly_map - expected[1]).abs().max()):.1e}",
            "other decisions": str(int(other.sum())),
        }
    print(markdown(pd.DataFrame(rows).T, "program"))


def take(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Returns the outputs that all programs have first."""
    return prediction.score, prediction.anomaly_map


def size_of(model: torch.nn.Module) -> float:
    """Returns megabytes of all that a saved model holds."""
    return sum(t.numel() * t.element_size() for t in model.state_dict().values()) / 1e6


def run_onnx(file: Path, threads: int) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Returns what runs an ONNX file with so many threads."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, ...]:
        found = session.run(None, {"images": images.numpy()})
        return tuple(torch.as_tensor(value) for value in found)

    return run


if __name__ == "__main__":
    main()
