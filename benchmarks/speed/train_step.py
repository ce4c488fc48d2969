"""How fast is a training step of ViGLAD, against anomalib's EfficientAd-S?

A step is forward, backward and Adam, with one image and one photograph for the penalty, in one process
and in turns. ViGLAD has the small student and the losses as printed. "cached" steps are given the
teacher's output, as training on a CPU is. anomalib's step is that of its Lightning model: its own networks
(with the teacher's weights that ship here, its download being none of its speed), its own losses.

Also shown: the multiplications and additions of the convolutions and matrix products in a step, and how
much of the rate of the teacher's convolutions, the fastest there is here, a whole step reaches.

    python -m benchmarks.speed.train_step --threads 1
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed._comparison import hardware, markdown
from benchmarks.speed._timing import interleaved, make_parser
from pyg_viglad import ViGLAD
from pyg_viglad.training import PenaltyImages, ViGLADModule

BASELINE = "anomalib EfficientAd-S, float32"


def efficient_ad(size: int, teacher_std: Tensor) -> Any:
    """Build anomalib's EfficientAd-S, its teacher's statistics set."""
    from benchmarks.grid.efficientad_detector import EfficientADDetector

    model = EfficientADDetector((size, size), size="small", input_size=size)._build()
    for name, value in (("mean", torch.zeros_like(teacher_std)), ("std", teacher_std)):
        model.mean_std[name] = torch.nn.Parameter(value.view(1, -1, 1, 1), requires_grad=False)
    return model


def anomalib_step(image: Tensor, photograph: Tensor, device: str) -> Callable[[], None]:
    """Give the step of anomalib's ``EfficientAd``, with its optimiser."""
    model = efficient_ad(image.size(-1), torch.ones(384)).to(device).train()
    model.teacher.eval()
    parameters = [*model.student.parameters(), *model.ae.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4, weight_decay=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        torch.stack(model(image, photograph)).sum().backward()
        optimizer.step()

    return step


def our_step(
    image: Tensor, photograph: Tensor, device: str, autoencoder: Any, half: bool, cached: bool
) -> Callable[[], None]:
    """Give the step of :class:`ViGLADModule`, with its optimiser."""
    model = ViGLAD("small", image.size(-1), autoencoder=autoencoder).to(device)
    model.fit_teacher_statistics(image)
    with torch.no_grad():
        known = model.teacher(model.normalize(image)) if cached else None
    if known is not None and half:
        known = known.bfloat16()
    training = ViGLADModule(model.train())
    optimizer = training.make_optimizer()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=half):
            parts = model.loss(image, photograph, known)
            loss = torch.stack(list(parts.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def operations(step: Callable[[], object]) -> float:
    """Count the multiply-adds of a step's convolutions and matrix products, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2e9


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=11)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    size = args.image_size
    image = torch.rand(1, 3, size, size, device=args.device)
    photograph = PenaltyImages(size=size)[0][None].to(args.device)
    steps = {}
    if size >= 256:
        steps[BASELINE] = anomalib_step(image, photograph, args.device)
    for label, autoencoder in (
        ("ViGLAD-S", "vig"),
        ("ViGLAD-S, convolutional autoencoder", "conv"),
    ):
        for half in (False, True):
            for cached in (False, True):
                name = f"{label}, {'bfloat16' if half else 'float32'}{', cached' * cached}"
                steps[name] = our_step(image, photograph, args.device, autoencoder, half, cached)

    # The fastest convolutions at hand set the floor.
    model = ViGLAD("small", size).to(args.device)
    normal = model.normalize(image)
    floors: dict[str, Callable[[], object]] = {}
    for half in (False, True):

        def teach(half: bool = half) -> None:
            # With gradients on, though none are wanted: the plain convolutions, as in the student.
            kind = args.device.split(":")[0]
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                model.teacher(normal)

        floors["bfloat16" if half else "float32"] = teach
    counts = {name: operations(step) for name, step in {**steps, **floors}.items()}
    times = interleaved({**steps, **floors}, args.rounds, args.warmup, args.device)
    median = {name: statistics.median(values) for name, values in times.items()}
    reached = {}
    for name in steps:
        floor = "bfloat16" if "bfloat16" in name else "float32"
        rate, best = counts[name] / median[name], counts[floor] / median[floor]
        reached[name] = f"{100 * rate / best:.0f} %"
    columns = {
        "10^9 multiply-adds": {name: f"{counts[name]:.1f}" for name in steps},
        "share of the convolutions' rate": reached,
    }
    print(f"A training step at {size} x {size} pixels. {hardware(args.threads, args.device)}")
    print()
    print(markdown({name: times[name] for name in steps}, next(iter(steps)), columns))


if __name__ == "__main__":
    main()
