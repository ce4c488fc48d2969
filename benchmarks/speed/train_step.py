"""Run time of a training step against anomalib's EfficientAd-S in the same precision.

A step is forward, backward and Adam, with one image and one penalty image, in one process and in turns.
ViGLAD has the small student and the paper's losses, without augmented images, which saves a pass of teacher
and student; a row has EfficientAD's losses. "Cached" steps are given the teacher's output, as training on a
CPU is. anomalib's step is that of its Lightning model: its own networks (with the teacher's weights that ship
here), its own losses. In bfloat16 both compute their networks under autocast.

    python -m benchmarks.speed.train_step --threads 1
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.timing import compare_precisions, make_parser, markdown, start
from pyg_viglad import ViGLAD


def main(arguments: Sequence[str] | None = None) -> None:
    from pyg_viglad.training import PenaltyImages

    parser = make_parser(__doc__, rounds=11)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    start(args)
    size = args.image_size
    image = torch.rand(1, 3, size, size, device=args.device)
    penalty = PenaltyImages(size=size)[0][None].to(args.device)
    steps: dict[str, dict[str, Callable[[], None]]] = {}
    for precision, half in (("float32", False), ("bfloat16", True)):
        some = steps[precision] = {}
        if size >= 256:
            some["anomalib EfficientAd-S"] = anomalib_step(image, penalty, half)
        for name, kind in (("ViGLAD-S", "vig"), ("ViGLAD-S, convolutional autoencoder", "conv")):
            for cached in (False, True):
                some[name + ", cached" * cached] = our_step(image, penalty, kind, half, cached)
            some[f"{name}, EfficientAD's losses"] = our_step(
                image, penalty, kind, half, losses="efficientad"
            )
    counts = {name: operations(step) for name, step in steps["float32"].items()}
    table = compare_precisions(steps, args.rounds, args.warmup, args.device)
    table["10^9 multiply-adds"] = [f"{counts[name]:.1f}" for name in table.index]
    print(markdown(table, "training step"))


def efficient_ad(size: int, teacher_std: Tensor) -> Any:
    """Builds anomalib's EfficientAd-S, its teacher's statistics set."""
    from benchmarks.grid import make_detector

    model = make_detector("efficientad", (size, size), size="small")._build()
    for name, value in (("mean", torch.zeros_like(teacher_std)), ("std", teacher_std)):
        model.mean_std[name] = torch.nn.Parameter(value.view(1, -1, 1, 1), requires_grad=False)
    return model


def anomalib_step(image: Tensor, penalty: Tensor, half: bool) -> Callable[[], None]:
    """Returns the step of anomalib's ``EfficientAd``, with its optimiser."""
    model = efficient_ad(image.size(-1), torch.ones(384)).to(image.device).train()
    model.teacher.eval()
    parameters = [*model.student.parameters(), *model.ae.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4, weight_decay=1e-5)
    if half:
        for network in (model.teacher, model.student, model.ae):
            in_bfloat16(network, image.device.type)

    def step() -> None:
        optimizer.zero_grad()
        torch.stack(model(image, penalty)).sum().backward()
        optimizer.step()

    return step


def in_bfloat16(network: torch.nn.Module, device: str) -> None:
    """Computes a network under autocast; its output is float32, as anomalib's quantiles need it."""
    forward = torch.autocast(device, torch.bfloat16)(network.forward)
    network.forward = lambda *inputs: forward(*inputs).float()


def our_step(
    image: Tensor,
    penalty: Tensor,
    autoencoder: Any,
    half: bool,
    cached: bool = False,
    losses: Any = "paper",
) -> Callable[[], None]:
    """Returns the step of ``ViGLADModule``, with its optimiser, but without Lightning."""
    model = ViGLAD("small", image.size(-1), autoencoder=autoencoder, losses=losses).to(image.device)
    model.fit_teacher_statistics(image)
    known = None
    if cached:
        with torch.no_grad():
            known = model.teacher(model.normalize(image)).to(
                torch.bfloat16 if half else image.dtype
            )
    trained = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-4, weight_decay=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            parts = model.loss(image, penalty, known)
            loss = torch.stack(list(parts.values())).sum()
        loss.backward()
        optimizer.step()

    return step


def operations(step: Callable[[], object]) -> float:
    """Counts the multiply-adds of a step's convolutions and matrix products, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2e9


if __name__ == "__main__":
    main()
