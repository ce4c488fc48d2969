"""How fast does ViGLAD score an image, against anomalib's EfficientAd-S in the same precision?

EfficientAD's protocol: one image at a time, from the image in the CPU's memory to its score and map there,
after a warm-up, in one process and in turns. ViGLAD computes all its maps and scores, with statistics fitted;
anomalib its map and score, with quantiles set. In reduced precision both run under autocast.

    python -m benchmarks.speed.latency --threads 1 [--device cuda]
"""

from collections.abc import Callable, Sequence
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
    args = parser.parse_args(arguments)
    start(args)
    size = args.image_size
    models: dict[str, Any] = {}
    if size >= 256:
        models["anomalib EfficientAd-S"] = fitted_efficient_ad(size)
    for kind in args.sizes:
        models[f"ViGLAD-{kind[0].upper()}"] = fitted_viglad(kind, "vig", size)
    models["ViGLAD-S, convolutional autoencoder"] = fitted_viglad("small", "conv", size)
    image = torch.rand(1, 3, size, size)
    runs = {
        precision: {
            name: scoring(model.to(args.device), image, args.device, getattr(torch, precision))
            for name, model in models.items()
        }
        for precision in ("float32", args.half)
    }
    print(markdown(compare_precisions(runs, args.rounds, args.warmup, args.device), "one image"))


def scoring(model: Any, image: Tensor, device: str, dtype: torch.dtype) -> Callable[[], object]:
    """Returns what takes an image on the CPU to its score and map on the CPU."""
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


def fitted_viglad(kind: Any, autoencoder: Any, size: int) -> ViGLAD:
    model = ViGLAD(kind, size, autoencoder=autoencoder).eval()
    images = torch.rand(4, 3, size, size)
    model.fit_statistics(images[:2], images[2:])
    return model


if __name__ == "__main__":
    main()
