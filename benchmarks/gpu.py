"""Checks of a GPU against the CPU, and timings there.

First come checks: operators, networks and scores on the GPU against the CPU. Then tables: nearest neighbours
against the matrix product that they need, aggregation against a copy of as many bytes, the autoencoder as it
is, compiled and as a CUDA graph, training steps, and the latency by EfficientAD's protocol. anomalib and
torch-cluster stand beside where they are installed; pandas, timm and Lightning are not needed.

Rows are written as they come, so that an interruption keeps what is there. A section that fails says why, and
the next one begins.

    python -m benchmarks.gpu --output runs/gpu.md

With ``--device cpu`` the same code runs on sizes so small that the times mean nothing: a test of the script.
"""

import argparse
import copy
import importlib.util
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from benchmarks.speed.aggregation import copying, least_bytes
from benchmarks.speed.autoencoder import Rival
from benchmarks.speed.latency import fitted_efficient_ad, fitted_viglad, scoring
from benchmarks.speed.rivals import aggregations, dense_formula, torch_cluster_search
from benchmarks.speed.timing import describe, measure
from benchmarks.speed.train_step import anomalib_step, our_step
from pyg_viglad import PDN, ViGAutoEncoder, ViGLAD
from pyg_viglad.models import ConvAutoEncoder, PyramidViG
from pyg_viglad.nn import OPERATORS, MaxRelativeConv, knn_graph, make_operator

__all__ = ["SECTIONS", "captured", "main"]

Rows = Iterator[dict[str, str]]
Checks = Iterator[tuple[str, float, float]]  # what, how far apart, and how far at most


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu.md"))
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=50, help="medians are over these")
    parser.add_argument("--images", type=int, default=1000, help="of the latency, and as warm-up")
    args = parser.parse_args(arguments)
    args.small = args.device == "cpu"
    if not args.small and not torch.cuda.is_available():
        parser.error(f"Expected a GPU for device '{args.device}' (got none)")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    failed = []
    with args.output.open("w", encoding="utf-8") as file:
        show(file, f"# {describe(args.device)}\n")
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        show(file, f"\nMedians of {args.rounds} calls, of the latency {args.images}. TF32 in ")
        show(file, f"products: {products.allow_tf32}; in convolutions, but for the checks: ")
        show(file, f"{convolutions.allow_tf32}.\n")
        for title in args.only:
            show(file, f"\n## {title}\n\n")
            try:
                right = write(file, SECTIONS[title](args))
            except Exception:
                show(file, f"\n    {traceback.format_exc().strip()}\n".replace("\n", "\n    "))
                right = False
            if not right:
                failed.append(title)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def write(file: TextIO, rows: Rows) -> bool:
    """Writes a table row by row; returns whether all that was checked is right."""
    right, header = True, False
    for row in rows:
        if not header:
            show(file, f"| {' | '.join(row)} |\n|{'---|' * len(row)}\n")
            header = True
        show(file, f"| {' | '.join(row.values())} |\n")
        right = right and row.get("right") != "NO"
    return right


def show(file: TextIO, text: str) -> None:
    print(text, end="", flush=True)
    file.write(text)
    file.flush()


def check(args: argparse.Namespace) -> Rows:
    """Compares the device with the CPU, without TF32."""
    with tf32(False):
        for part in (check_graphs, check_operators, check_networks, check_scores, check_waiting):
            for name, difference, limit in part(args.device):
                right = "yes" if difference <= limit else "NO"  # NO also of NaN
                shown = [f"{value:.1e}" if value else "0" for value in (difference, limit)]
                yield {"what": name, "difference": shown[0], "at most": shown[1], "right": right}


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allows convolutions TF32 or not in this context."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def check_graphs(device: str) -> Checks:
    """Yields the share of the edges that differ: none where distances are exact or ties improbable."""
    signs = torch.zeros(700, 12)
    signs.scatter_(1, torch.rand(700, 12).topk(4).indices, 0.5)  # of length 1, products exact
    signs *= torch.randint(0, 2, signs.shape) * 2 - 1
    doubles = torch.randn(1568, 48, dtype=torch.float64)
    near = {"k": 12, "loop": True}
    cosine = {**near, "cosine": True}
    cases: dict[str, tuple[Tensor, dict[str, Any], float]] = {
        "integers, many ties": (torch.randint(0, 3, (900, 6)), near, 0),
        "integers of 2^24 and more": (2**24 + torch.randint(0, 9, (900, 6)), near, 0),
        "unit vectors, many ties": (signs, {**cosine, "dilation": 3}, 0),
        "constant image": (torch.full((784, 48), 0.3), cosine, 0),
        "black image": (torch.zeros(784, 48), {**cosine, "loop": False}, 0),
        "8 graphs": (doubles, {**cosine, "batch_size": 8, "dilation": 2}, 0),
        "a vector of graphs": (doubles, {**near, "batch": torch.arange(1568) ** 2 // 200000}, 0),
        "other candidates": (doubles, {**cosine, "y": doubles[::16].contiguous()}, 0),
        "k of almost all": (doubles[:13], {**near, "loop": False}, 0),
        "float32, any scale": (1e-20 * doubles.float(), cosine, 5e-3),
    }
    for name, (x, options, limit) in cases.items():
        there = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in options.items()}
        found = knn_graph(x.to(device), **there).cpu()
        yield f"graph: {name}", float((found != knn_graph(x, **options)).float().mean()), limit


def check_operators(device: str) -> Checks:
    """Yields differences of values and gradients, of max-relative with ties and sums that are exact."""
    x = torch.randint(-3, 4, (784, 48)).float()
    gradient = torch.randint(-2, 3, (784, 48)).float()
    edges = knn_graph(torch.randn(784, 8), 9, loop=True)
    some = edges[:, torch.randperm(7000)]  # irregular, with nodes without neighbours
    conv = MaxRelativeConv(48, 48)
    for name, edge_index, k in (("regular", edges, 9), ("any edges", some[:, some[1] > 4], None)):
        values, gradients = [], []
        for place in ("cpu", device):
            there = x.clone().to(place).requires_grad_()
            out = conv.relative(there, edge_index.to(place), k=k)[1]
            out.backward(gradient.to(place))
            values.append(out)
            gradients.append(there.grad)
        yield f"max-relative, {name}: values", apart(*values), 0
        yield f"max-relative, {name}: gradients", apart(*gradients), 0
    x = torch.randn(784, 48, dtype=torch.float64)
    for name in OPERATORS:
        operator = make_operator(name, 48, 96).double().eval()
        gradients = []
        for place in ("cpu", device):
            there = x.clone().to(place).requires_grad_()
            copy.deepcopy(operator).to(place)(there, edges.to(place)).square().sum().backward()
            gradients.append(there.grad)
        yield f"operator {name}: gradients in float64", apart(*gradients), 1e-9


@torch.no_grad()
def check_networks(device: str) -> Checks:
    """Yields differences of outputs: in float64 no rounding gives a node another neighbour."""
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    networks: dict[str, nn.Module] = {
        "ViGAutoEncoder": ViGAutoEncoder(image_size=64),
        "PyramidViG": PyramidViG("ti", num_classes=0, image_size=64),
        "ConvAutoEncoder": ConvAutoEncoder(image_size=64),
        "PDN": PDN("small"),
    }
    for name, network in networks.items():
        expected = network.double().eval()(images)
        found = copy.deepcopy(network).to(device)(images.to(device))
        yield f"{name} in float64", apart(expected, found), 1e-8
        images32 = images.float().to(device)
        limit = 0.02 if "ViG" in name else 1e-4  # rounding may choose another neighbour
        network = network.float().to(device)
        found = network(images32)
        yield f"{name} in float32", apart(expected, found), limit
        replay = captured(network, torch.zeros_like(images32))
        yield f"{name} as a CUDA graph", apart(found, replay(images32)), 1e-5


def check_scores(device: str) -> Checks:
    """Yields differences of scores in spreads of normal images, and relative ones of a threshold."""
    normal = torch.nn.functional.interpolate(0.3 + 0.3 * torch.rand(8, 3, 6, 6), (96, 96))
    model = ViGLAD("small", 96, node_scorer="neighbors")
    model.fit_statistics(normal[:4], normal[4:])
    expected = model.predict(normal)
    there = copy.deepcopy(model).to(device)
    spread = float(expected.score.std())
    seen = normal[:2] if device == "cpu" else normal

    def difference(**options: Any) -> float:
        found = there.predict(seen, **options).score.cpu()
        return float((found - expected.score[: len(seen)]).abs().max()) / spread

    yield "scores", difference(), 0.02
    with tf32(True):
        yield "scores with TF32", difference(), 0.3
    for precision, limit in (("bfloat16", 1.0), ("float16", 0.3)):
        yield f"scores in {precision}", difference(precision=precision), limit
    there.fit_statistics(normal[:4], normal[4:])
    relative = float(there.threshold.cpu() / model.threshold - 1)
    yield "threshold fitted there", abs(relative), 0.02


def check_waiting(device: str) -> Checks:
    """Yields whether the host waits for the device in what should leave it free."""
    model = ViGLAD("small", 96, node_scorer="gaussian").to(device)
    images = torch.rand(4, 3, 96, 96)
    model.fit_statistics(images[:2], images[2:])
    images = images.to(device)
    for name, run in {"forward": model, "loss": model.loss}.items():
        run(images)  # loads libraries
        mode = torch.cuda.set_sync_debug_mode if device.startswith("cuda") else lambda _: None
        mode("error")
        try:
            run(images)
            waits = 0
        except RuntimeError:
            waits = 1
        finally:
            mode("default")
        yield f"times the host waits in {name}", waits, 0


def apart(expected: Tensor | None, found: Tensor | None) -> float:
    """Returns the norm of the difference, relative to that of the first."""
    assert expected is not None
    assert found is not None
    expected, found = (part.detach().double().cpu() for part in (expected, found))
    return float((found - expected).norm() / expected.norm())


def captured(function: Callable[..., Any], *inputs: Tensor) -> Callable[..., Any]:
    """Returns a function as a CUDA graph, which overwrites its outputs; on a CPU as it is.

    Args:
        function: From tensors of fixed sizes to anything; it may not wait for the device.
        inputs: Tensors on the device as it gets them. To others the graph copies what it is given.
    """
    if not inputs[0].is_cuda:
        return function
    places = [tensor.clone() for tensor in inputs]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function(*places)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function(*places)

    def replay(*given: Tensor) -> Any:
        for place, tensor in zip(places, given, strict=True):
            place.copy_(tensor)
        graph.replay()
        return outputs

    return replay


def medians(
    functions: dict[str, Callable[[], object]], args: argparse.Namespace
) -> dict[str, float]:
    """Returns the median milliseconds of functions called in turns."""
    times = measure(functions, args.rounds, 1 if args.small else 10, args.device)
    return {name: statistics.median(values) for name, values in times.items()}


def peak(function: Callable[[], object], device: str) -> str:
    """Returns the peak memory of a call beyond what is allocated, in MB, without the pool of a CUDA graph."""
    if device == "cpu":
        return "-"
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    return f"{(torch.cuda.max_memory_allocated() - before) / 1e6:.1f}"


def ceilings(args: argparse.Namespace) -> Rows:
    """Measures what the device can do."""
    size = 2**20 if args.small else 2**31
    (ms,) = medians({"copy": copying(size, args.device)}, args).values()
    yield {"what": "copy, bytes read and written", "rate": f"{size / ms / 1e6:.0f} GB/s"}
    side = 64 if args.small else 8192
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(side, side, device=args.device, dtype=dtype)
        (ms,) = medians({"product": lambda x=x: x @ x}, args).values()
        what = f"product of {side} x {side}, {str(dtype).removeprefix('torch.')}"
        yield {"what": what, "rate": f"{2 * side**3 / ms / 1e9:.1f} TFLOP/s"}


@torch.no_grad()
def neighbors(args: argparse.Namespace) -> Rows:
    """Times ``knn_graph`` against the product alone, of all pairs of nodes in a graph."""
    sizes = [(1, 3136, 48, 12, 1), (1, 3136, 48, 12, 2), (1, 784, 96, 12, 1), (1, 196, 240, 12, 2)]
    sizes += [(16, 3136, 48, 12, 1), (1, 12544, 48, 12, 1)]
    for size in [(2, 60, 8, 4, 2)] if args.small else sizes:
        graphs, nodes, channels, k, dilation = size
        x = torch.randn(graphs, nodes, channels, device=args.device)
        ways = searches(x, k, dilation)
        ms = medians(ways, args)
        own = ways["pyg_viglad"]()
        for name, way in ways.items():
            found = way()
            compared = found.shape == own.shape
            yield {
                "graphs, nodes, channels, k, dilation": str(size)[1:-1],
                "way": name,
                "ms": f"{ms[name]:.3f}",
                "times the product": f"{ms[name] / ms['the product alone']:.1f}",
                "MB": peak(way, args.device),
                "% same": f"{100 * float((found == own).float().mean()):.2f}" if compared else "-",
            }


def searches(x: Tensor, k: int, dilation: int) -> dict[str, Callable[[], Tensor]]:
    """Returns ways to the neighbours of each node in its graph ``[B, N, k]``, and the product alone."""
    graphs, nodes, _ = x.shape
    flat, unit = x.flatten(0, 1), nn.functional.normalize(x, dim=2)
    first = torch.arange(graphs, device=x.device).view(-1, 1, 1) * nodes
    product = torch.empty(graphs, nodes, nodes, device=x.device)

    def ours(flat: Tensor) -> Tensor:
        options: dict[str, Any] = {"loop": True, "cosine": True, "dilation": dilation}
        return knn_graph(flat, k, batch_size=graphs, **options)[0].view(graphs, nodes, k) - first

    ways: dict[str, Callable[[], Tensor]] = {
        "pyg_viglad": partial(ours, flat),
        "as a CUDA graph": partial(captured(ours, flat), flat),
        "dense formula (ViG)": partial(dense_formula, x, k, dilation),
        "the product alone": lambda: torch.bmm(unit, unit.mT, out=product),
    }
    if importlib.util.find_spec("torch_cluster"):
        ways["torch-cluster"] = partial(torch_cluster_search, x, k, dilation)
    return working(ways)


def working(ways: dict[str, Callable[..., Any]], *inputs: Tensor) -> dict[str, Callable[..., Any]]:
    """Leaves out extensions that are built for the CPU alone."""
    found = {}
    for name, way in ways.items():
        try:
            way(*inputs)
        except RuntimeError:
            if not name.startswith(("torch-cluster", "torch-scatter")):
                raise
        else:
            found[name] = way
    return found


def aggregation(args: argparse.Namespace) -> Rows:
    """Times the maximum over neighbours against a copy of the bytes that must be read and written."""
    sizes = [(3136, 48, 12), (784, 96, 12), (50176, 48, 12)]
    for nodes, channels, k in [(60, 8, 4)] if args.small else sizes:
        x = torch.randn(nodes, channels, device=args.device)
        edges = knn_graph(x, k, loop=True, cosine=True)
        ways = working(aggregations(edges, k, channels), x)
        conv = MaxRelativeConv(channels, channels, heads=1)
        ways["pyg_viglad"] = partial(largest, conv, edges, k)  # as the networks call it
        forward: dict[str, Callable[[], object]] = {n: partial(way, x) for n, way in ways.items()}
        forward["as a CUDA graph"] = partial(captured(ways["pyg_viglad"], x), x)
        both: dict[str, Callable[[], object]] = {n: gradient(way, x) for n, way in ways.items()}
        sizes_in_bytes = least_bytes(x, k)
        for functions, number in zip((forward, both), sizes_in_bytes, strict=True):
            functions["a copy of the bytes"] = copying(number, args.device)
        parts = [medians(functions, args) for functions in (forward, both)]
        for name in forward:
            row = {"nodes, channels, k": f"{nodes}, {channels}, {k}", "way": name}
            labels = ("forward", "with backward")
            for label, ms, number in zip(labels, parts, sizes_in_bytes, strict=True):
                row[f"{label} ms"] = f"{ms[name]:.3f}" if name in ms else "-"
                row[f"{label} GB/s"] = f"{number / ms[name] / 1e6:.0f}" if name in ms else "-"
            yield row


def largest(conv: MaxRelativeConv, edges: Tensor, k: int, x: Tensor) -> Tensor:
    return conv.relative(x, edges, k=k)[1]


def gradient(way: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    """Returns what computes a function and its gradient."""
    given, outer = x.clone().requires_grad_(), torch.randn_like(x)
    return lambda: torch.autograd.grad(way(given), given, outer)


def autoencoder(args: argparse.Namespace) -> Rows:
    """Times the graph autoencoder, and what it would be built of otherwise."""
    rival = "PyG default, dense formula (ViG)"
    ways = {"pyg_viglad": _same, rival: lambda model: Rival(copy.deepcopy(model), dense_formula)}
    return networks(args, ways)


def compiled(args: argparse.Namespace) -> Rows:
    """Times the graph autoencoder compiled, for each size of its input by itself."""

    def compile_it(model: ViGAutoEncoder) -> Any:
        return torch.compile(copy.deepcopy(model), fullgraph=True, dynamic=False)

    return networks(args, {"pyg_viglad": _same, "compiled": compile_it})


def _same(model: ViGAutoEncoder) -> ViGAutoEncoder:
    return model


def networks(args: argparse.Namespace, ways: dict[str, Callable[[ViGAutoEncoder], Any]]) -> Rows:
    """Times what is made of the graph autoencoder, also as CUDA graphs."""
    side = 64 if args.small else 224
    model = ViGAutoEncoder(image_size=side).to(args.device).eval()
    learning = copy.deepcopy(model).train()
    for number in [1] if args.small else [1, 16]:
        images = torch.rand(number, 3, side, side, device=args.device)
        both = {name: partial(train, way(learning), images) for name, way in ways.items()}
        ms_both = medians(both, args)
        with torch.inference_mode():
            forward: dict[str, Callable[[], object]] = {}
            for name, way in ways.items():
                network = way(model)
                forward[name] = partial(network, images)
                if not isinstance(network, Rival):
                    replay = captured(network, images)
                    forward[f"{name}, as a CUDA graph"] = partial(replay, images)
            ms = medians(forward, args)
            megabytes = {name: peak(function, args.device) for name, function in forward.items()}
        for name in forward:
            yield {
                "images": str(number),
                "way": name,
                "forward ms": f"{ms[name]:.2f}",
                "images/s": f"{1000 * number / ms[name]:.0f}",
                "MB": megabytes[name],
                "with backward ms": f"{ms_both[name]:.2f}" if name in both else "-",
            }


def train(network: nn.Module, images: Tensor) -> None:
    network(images).square().mean().backward()


def training(args: argparse.Namespace) -> Rows:
    """Times training steps: forward, backward and Adam, of one image and one penalty image."""
    side = 96 if args.small else 256
    image, penalty = (torch.rand(1, 3, side, side, device=args.device) for _ in range(2))
    ways: dict[str, Callable[[bool], Callable[[], None]]] = {
        "ViGLAD-S": lambda half: our_step(image, penalty, "vig", half, False),
        "ViGLAD-S, convolutional autoencoder": lambda half: our_step(
            image, penalty, "conv", half, False
        ),
    }
    if importlib.util.find_spec("anomalib") and not args.small:
        ways["anomalib EfficientAd-S"] = lambda half: anomalib_step(image, penalty, half)
    steps = {half: {name: way(half) for name, way in ways.items()} for half in (False, True)}
    ms = {half: medians(dict(some), args) for half, some in steps.items()}
    for name in ways:
        yield {
            "step": name,
            "float32 ms": f"{ms[False][name]:.2f}",
            "bfloat16 ms": f"{ms[True][name]:.2f}",
            "MB in float32": peak(steps[False][name], args.device),
        }


def latency(args: argparse.Namespace) -> Rows:
    """Times one image after the other, from the CPU's memory to its score and map there."""
    side = 96 if args.small else 256
    image = torch.rand(1, 3, side, side)
    kinds = {"ViGLAD-S": ("small", "vig")}
    if not args.small:
        kinds["ViGLAD-S, convolutional autoencoder"] = ("small", "conv")
        kinds["ViGLAD-M"] = ("medium", "vig")
    for precision in ("float32", "float16"):
        runs: dict[str, Callable[[], object]] = {}
        for name, kind in kinds.items():
            model = fitted_viglad(*kind, side, precision, args.device)
            graph = captured(torch.inference_mode()(model.forward), image.to(args.device))
            runs[name] = scoring(model, image, args.device)
            runs[f"{name}, as a CUDA graph"] = scoring(graph, image, args.device)
        if importlib.util.find_spec("anomalib") and not args.small:
            rival = fitted_efficient_ad(side).to(args.device)
            dtype = getattr(torch, precision)
            runs["anomalib EfficientAd-S"] = scoring(rival, image, args.device, dtype)
        times = measure(runs, args.images, args.images, args.device)
        for name, run in runs.items():
            ms = statistics.median(times[name])
            yield {
                "detector": name,
                "precision": precision,
                "ms": f"{ms:.2f}",
                "mean ms": f"{statistics.mean(times[name]):.2f}",
                "images/s": f"{1000 / ms:.0f}",
                "MB": peak(run, args.device),
            }


SECTIONS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "checks": check,
    "ceilings": ceilings,
    "nearest-neighbours": neighbors,
    "aggregation": aggregation,
    "autoencoder": autoencoder,
    "compiled": compiled,
    "training": training,
    "latency": latency,
}

if __name__ == "__main__":
    raise SystemExit(main())
