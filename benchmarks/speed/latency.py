"""How fast does ViGLAD judge an image, against anomalib's EfficientAd-S?

EfficientAD's protocol: one image at a time, from the image in the CPU's memory to its score and map there,
after a warm-up, the mean of many, in one process and in turns. ViGLAD gives all its maps and scores, with
statistics fitted; anomalib its map and score, with quantiles set.

    python -m benchmarks.speed.latency --threads 1 [--device cuda]
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed._comparison import hardware, markdown
from benchmarks.speed._timing import interleaved, make_parser
from benchmarks.speed.train_step import efficient_ad
from pyg_viglad import ViGLAD


def judge(model: Any, image: Tensor, device: str, dtype: torch.dtype) -> Callable[[], object]:
    """Give what takes an image on the CPU to its score and map on the CPU."""

    def run() -> tuple[Tensor, Tensor]:
        half = dtype != torch.float32
        kind = device.split(":")[0]
        with torch.inference_mode(), torch.autocast(kind, dtype if half else None, enabled=half):
            output = model(image.to(device))
        score = output.score if hasattr(output, "paper_score") else output.pred_score
        return score.cpu(), output.anomaly_map.cpu()

    return run


def efficient_ad_model(size: int) -> Any:
    model = efficient_ad(size, torch.ones(384)).eval()
    for name, value in (("qa_st", 0.1), ("qb_st", 0.2), ("qa_ae", 0.1), ("qb_ae", 0.2)):
        model.quantiles[name] = torch.nn.Parameter(torch.tensor(value), requires_grad=False)
    return model


def viglad_model(kind: Any, autoencoder: Any, size: int) -> ViGLAD:
    model = ViGLAD(kind, size, autoencoder=autoencoder).eval()
    images = torch.rand(4, 3, size, size)
    model.fit_statistics(images[:2], images[2:])
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=30)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--sizes", nargs="+", default=["small", "medium"])
    parser.add_argument("--half", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    size = args.image_size
    models: dict[str, Any] = {}
    if size >= 256:
        models["anomalib EfficientAd-S"] = efficient_ad_model(size)
    for kind in args.sizes:
        models[f"ViGLAD-{kind[0].upper()}"] = viglad_model(kind, "vig", size)
    models["ViGLAD-S, convolutional autoencoder"] = viglad_model("small", "conv", size)
    image = torch.rand(1, 3, size, size)
    runs = {}
    for name, model in models.items():
        for dtype in (torch.float32, getattr(torch, args.half)):
            label = f"{name}, {str(dtype).removeprefix('torch.')}"
            runs[label] = judge(model.to(args.device), image, args.device, dtype)
    times = interleaved(runs, args.rounds, args.warmup, args.device)
    print(f"One image of {size} x {size} pixels. {hardware(args.threads, args.device)}")
    print()
    print(markdown(times, next(iter(runs)), average=statistics.fmean))


if __name__ == "__main__":
    main()
