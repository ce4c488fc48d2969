"""Which graph operators work in a block, and what they cost: the tables of docs/operators.md.

    python -m benchmarks.studies.operators

rewrites that document. A test recomputes all of it except the times.
"""

import contextlib
import inspect
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.nn import conv

from benchmarks.speed.timing import make_parser, markdown, start, time_in_turns
from pyg_viglad.files import write_text
from pyg_viglad.nn import OPERATORS, Graph, knn_graph, make_graph, make_operator

__all__ = ["ARGUMENTS", "CHECKS", "DOCUMENT", "NAMES", "check"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "operators.md"

NAMES = (*OPERATORS, "hyperedge", *conv.__all__)

TEXT = """# Graph operators

The operators that `ConvViG`, `DeconvViG` and all networks take by name: `operator=` and, where the
second column shows some, `operator_kwargs=`. The first ones are this package's, the others those of
`torch_geometric.nn.conv`, which work by class, too. `hyperedge` goes with `graph="hypergraph"`.

`python -m benchmarks.studies.operators` writes this file, and
`tests/benchmarks/studies/test_operators.py` compares it with what it computes itself: all but the
times, and compilation and export of some operators only.

- **edges**: what `edge_features` may hold; "direction" where edges have types, which are the
  directions of the neighbours.
- **pooled**: takes pooled neighbours (`reduce_ratio` above 1).
- **batches**: two images in a batch equal each alone (evaluation mode, double precision).
- **backward**: the gradients of the input and of all parameters are finite; parameters without any
  are named.
- **compiles**: `torch.compile(fullgraph=True, backend="eager")` gives the same output. There are no
  graph breaks then; nothing is said of a backend that generates code.
- **exports**: `torch.export` gives the same output.
- **parameters**: from 48 to 96 channels, with batch normalization.
- **ms**: forward and backward of one image of 28 x 28 nodes from 48 to 96 channels, k = 9
  (`hyperedge`: nine hyperedges), in float32 on {threads} thread(s); the fastest of {rounds} rounds.

{machine}

{works}

## Operators that do not work in a block

They raise a `ValueError` that says so.

{others}
"""

# `operator_kwargs` of the operators that need some, or that read edge features when asked to.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "APPNP": {"K": 2, "alpha": 0.1},
    "ChebConv": {"K": 2},
    "DirGNNConv": {"conv": "SAGEConv"},
    "FAConv": {"normalize": False, "edge_features": ["distance"]},
    "FastRGCNConv": {"num_relations": 8},
    "FiLMConv": {"num_relations": 8},
    "GATv2Conv": {"heads": 4},
    "GCN2Conv": {"alpha": 0.1},
    "GINEConv": {"edge_features": ["distance", "position"]},
    "GMMConv": {"kernel_size": 5, "edge_features": ["position"]},
    "GPSConv": {"conv": "GINConv"},
    "GatedGraphConv": {"num_layers": 2},
    "NNConv": {"edge_features": ["position"]},
    "PDNConv": {"hidden_channels": 16, "edge_features": ["distance", "position"]},
    "PNAConv": {
        "aggregators": ["mean", "max"],
        "scalers": ["identity"],
        "deg": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    },
    "RGATConv": {"num_relations": 8},
    "RGCNConv": {"num_relations": 8},
    "SSGConv": {"alpha": 0.1},
}


Call = dict[str, Any]


def make(name: str, **kwargs: Any) -> nn.Module:
    return make_operator(name, 48, 96, operator_kwargs={**ARGUMENTS.get(name, {}), **kwargs})


def images(
    name: str, batch_size: int, grid_size: tuple[int, int], dtype: torch.dtype
) -> tuple[Tensor, Any, Call]:
    """Returns features, the edges or hyperedges that an operator reads, and what a block adds."""
    x = torch.randn(batch_size * grid_size[0] * grid_size[1], 48, dtype=dtype)
    return x, graph(name)(x, batch_size, grid_size), {"k": 9, "grid_size": grid_size}


def graph(name: str) -> Graph:
    """Returns the graph builder of an operator."""
    return make_graph("hypergraph" if name == "hyperedge" else "knn", 9)


def check(name: str, columns: Iterable[str] | None = None) -> dict[str, str]:
    """Checks an operator, in double precision on two images of 4 x 6 nodes.

    Args:
        name: Its name.
        columns: What to check, of ``CHECKS`` (default: all).

    Returns:
        A text per column; only ``"it"``, the reason, for an operator that does not work.
    """
    torch.manual_seed(0)
    try:
        operator = make(name).double()
    except ValueError as error:
        return {"it": str(error).partition(": it ")[2].removesuffix(")")}
    example = images(name, 2, (4, 6), torch.float64)
    return {column: CHECKS[column](name, operator.eval(), *example) for column in columns or CHECKS}


def _edges(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    """Returns the edge features that the output depends on."""

    def square(_: nn.Module, args: Any, kwargs: Call) -> tuple[Any, Call]:
        return args, {key: v.square() if v.is_floating_point() else v for key, v in kwargs.items()}

    found = []
    for feature in ("distance", "position"):
        with contextlib.suppress(ValueError):
            reader = make(name, edge_features=[feature]).double().eval()
            before = reader(x, edges, **call)
            reader.get_submodule("conv").register_forward_pre_hook(square, with_kwargs=True)
            if not torch.allclose(before, reader(x, edges, **call)):
                found.append(feature)
    inner = getattr(operator, "conv", operator)
    if "edge_type" in inspect.signature(inner.forward).parameters:
        found.append("direction")
    return ", ".join(found) or "-"


def _pooled(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    """Checks neighbours among the averages of 2 x 2 nodes."""
    source = x.view(2, 2, 2, 3, 2, -1).mean(dim=(2, 4)).flatten(0, 2)
    edges = knn_graph(x, 3, cosine=True, batch_size=2, y=source)
    try:
        out = operator((source, x), edges, grid_size=(4, 6), k=3)
    except ValueError:
        return "no"
    return "yes" if out.shape == (48, 96) and out.isfinite().all() else "no"


def _batches(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    """Compares a batch with its images, each with the graph of its own nodes."""
    alone = [operator(part, graph(name)(part, 1, (4, 6)), **call) for part in x.split(24)]
    return "yes" if torch.allclose(operator(x, edges, **call), torch.cat(alone)) else "no"


def _backward(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    """Checks the gradients of input and parameters in training."""
    x = x.clone().requires_grad_()
    operator.train()(x, edges, **call).square().sum().backward()
    gradients = {"x": x.grad, **{key: p.grad for key, p in operator.named_parameters()}}
    if not all(value.isfinite().all() for value in gradients.values() if value is not None):
        return "no"
    unused = [key for key, value in gradients.items() if value is None]
    return f"yes, without {', '.join(unused)}" if unused else "yes"


def _compiles(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    """Checks that there is one graph, and its output."""
    torch.compiler.reset()
    try:
        out = torch.compile(operator, fullgraph=True, backend="eager")(x, edges, **call)
    except Exception:  # of many kinds
        return "no"
    return "yes" if torch.allclose(out, operator(x, edges, **call)) else "no"


def _exports(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    """Checks the output of the exported program."""
    try:
        program = torch.export.export(operator, (x, edges), call)
    except Exception:  # of many kinds
        return "no"
    out = program.module()(x, edges, **call)
    return "yes" if torch.allclose(out, operator(x, edges, **call)) else "no"


def _parameters(name: str, operator: nn.Module, x: Tensor, edges: Any, call: Call) -> str:
    return f"{sum(p.numel() for p in operator.parameters()):,}"


CHECKS: dict[str, Callable[[str, nn.Module, Tensor, Any, Call], str]] = {
    "edges": _edges,
    "pooled": _pooled,
    "batches": _batches,
    "backward": _backward,
    "compiles": _compiles,
    "exports": _exports,
    "parameters": _parameters,
}


def _step(operator: nn.Module, x: Tensor, edges: Any, call: Call) -> Callable[[], None]:
    """Returns forward and backward in training."""
    x.requires_grad_()

    def step() -> None:
        operator.train().zero_grad()
        operator(x, edges, **call).square().sum().backward()

    return step


def main() -> None:
    args = make_parser(__doc__, rounds=20).parse_args()
    machine = io.StringIO()
    with contextlib.redirect_stdout(machine):
        start(args)
    rows = {name: check(name) for name in NAMES}
    works = [name for name, row in rows.items() if "it" not in row]
    steps = {name: _step(make(name), *images(name, 1, (28, 28), torch.float32)) for name in works}
    times = time_in_turns(steps, args.rounds)
    table = pd.DataFrame([rows[name] for name in works], index=works)
    table.insert(
        0, "operator_kwargs", [f"`{ARGUMENTS[n]}`" if n in ARGUMENTS else "" for n in works]
    )
    table["ms"] = times.min()
    others = pd.DataFrame({name: row for name, row in rows.items() if "it" in row}).T
    text = TEXT.format(
        threads=args.threads,
        rounds=args.rounds,
        machine=machine.getvalue().splitlines()[0],
        works=markdown(table, "operator"),
        others=markdown(others, "operator"),
    )
    write_text(DOCUMENT, text)


if __name__ == "__main__":
    main()
