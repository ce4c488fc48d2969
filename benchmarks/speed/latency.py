"""Latency of one image against anomalib's EfficientAd-S in the same precision.

EfficientAD's protocol: one image at a time, from the image in the CPU's memory to its score and map there,
after a warm-up, in one process and in turns. ViGLAD computes all its maps and scores, with statistics fitted
in the same precision; anomalib its map and score, with quantiles set, and its networks under autocast.
ViGLAD-S also runs with its networks compiled by Inductor, weights frozen (--compile), and on a CPU in
float32 as its ONNX file by onnxruntime (--onnx).

    python -m benchmarks.speed.latency --threads 1 [--device cuda] [--compile] [--onnx]
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.timing import compare_precisions, make_parser, markdown, start
from benchmarks.speed.train_step import efficient_ad
from pyg_viglad import ViGLAD


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=30)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--sizes", nargs="+", default=["small", "medium"])
    parser.add_argument("--half", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="takes minutes, and a C++ compiler")
    parser.add_argument("--onnx", action="store_true", help="takes onnxruntime")
    args = parser.parse_args(arguments)
    start(args)
    image = torch.rand(1, 3, args.image_size, args.image_size)
    runs = {precision: scorings(args, image, precision) for precision in ("float32", args.half)}
    print(markdown(compare_precisions(runs, args.rounds, args.warmup, args.device), "one image"))


def scorings(
    args: argparse.Namespace, image: Tensor, precision: str
) -> dict[str, Callable[[], object]]:
    """Returns, by name, functions that score one image, from CPU memory back to it."""
    size, device = args.image_size, args.device
    runs: dict[str, Callable[[], object]] = {}
    if size >= 256:
        rival = fitted_efficient_ad(size).to(device)
        runs["anomalib EfficientAd-S"] = scoring(rival, image, device, getattr(torch, precision))
    for kind in args.sizes:
        model = fitted_viglad(kind, "vig", size, precision).to(device)
        runs[f"ViGLAD-{kind[0].upper()}"] = scoring(model, image, device)
    model = fitted_viglad("small", "conv", size, precision).to(device)
    runs["ViGLAD-S, convolutional autoencoder"] = scoring(model, image, device)
    if args.onnx and precision == "float32":
        from benchmarks.speed.export import run_onnx

        model = fitted_viglad("small", "vig", size, precision)
        with TemporaryDirectory() as folder:
            program = run_onnx(model.export(Path(folder) / "model.onnx"), args.threads)
        runs["ViGLAD-S, ONNX"] = lambda: program(image)
    if args.compile:
        torch._inductor.config.freezing = True
        model = fitted_viglad("small", "vig", size, precision)
        for network in (model.teacher, model.student, model.autoencoder):
            network.compile()
        runs["ViGLAD-S, compiled"] = scoring(model.to(device), image, device)
    return runs


def scoring(
    model: Any, image: Tensor, device: str, dtype: torch.dtype = torch.float32
) -> Callable[[], object]:
    """Returns what scores an image; ViGLAD's precision is that of its statistics."""
    half = dtype != torch.float32
    kind = device.split(":")[0]

    def run() -> tuple[Tensor, Tensor]:
        with torch.inference_mode(), torch.autocast(kind, dtype if half else None, enabled=half):
            output = model(image.to(device))
        score = output.score if hasattr(output, "paper_score") else output.pred_score
        return score.cpu(), output.anomaly_map.cpu()

    return run


def fitted_efficient_ad(size: int) -> Any:
    model = efficient_ad(size, torch.ones(384)).eval()
    for name, value in (("qa_st", 0.1), ("qb_st", 0.2), ("qa_ae", 0.1), ("qb_ae", 0.2)):
        model.quantiles[name] = torch.nn.Parameter(torch.tensor(value), requires_grad=False)
    return model


def fitted_viglad(
    kind: Any, autoencoder: Any, size: int, precision: Any = "float32", device: str = "cpu"
) -> ViGLAD:
    model = ViGLAD(kind, size, autoencoder=autoencoder).to(device)
    images = torch.rand(4, 3, size, size)
    model.fit_statistics(images[:2], images[2:], precision=precision)
    return model


if __name__ == "__main__":
    main()
