"""ViG's edge, GraphSAGE and GIN convolutions by plain loops over nodes, from the formulas.

``layers`` maps the reference's names to its tensors: ``nn.0.weight`` ``[out, in / groups, 1, 1]``,
``nn.0.bias``, and ``nn.1.*`` of the batch normalization. ``training`` normalises with the statistics
of all rows that enter a layer.
"""

import torch
from torch import Tensor

Layers = dict[str, Tensor]


def basic_layer(rows: Tensor, layers: Layers, name: str, training: bool, groups: int = 4) -> Tensor:
    """Grouped linear layer, batch normalization, GELU."""
    kernel, bias = layers[f"{name}.0.weight"], layers[f"{name}.0.bias"]
    inputs, outputs = rows.size(1) // groups, kernel.size(0) // groups
    columns = []
    for channel in range(kernel.size(0)):
        first = channel // outputs * inputs
        part = rows[:, first : first + inputs]
        columns.append((part * kernel[channel, :, 0, 0]).sum(dim=1) + bias[channel])
    out = torch.stack(columns, dim=1)
    mean, variance = layers[f"{name}.1.running_mean"], layers[f"{name}.1.running_var"]
    if training:
        mean, variance = out.mean(dim=0), ((out - out.mean(dim=0)) ** 2).mean(dim=0)
    out = (out - mean) / (variance + 1e-5).sqrt()
    out = out * layers[f"{name}.1.weight"] + layers[f"{name}.1.bias"]
    return out * (1 + torch.erf(out / 2**0.5)) / 2


def largest(rows: Tensor, centres: list[int], nodes: int) -> Tensor:
    """The largest row of each centre in each channel, zero without any."""
    out = []
    for node in range(nodes):
        own = [row for row, centre in zip(rows, centres, strict=True) if centre == node]
        out.append(torch.stack(own).amax(dim=0) if own else torch.zeros_like(rows[0]))
    return torch.stack(out)


def edge_oracle(
    source: Tensor, target: Tensor, edges: Tensor, layers: Layers, training: bool
) -> Tensor:
    rows = [torch.cat([target[i], source[j] - target[i]]) for j, i in edges.t().tolist()]
    rows = basic_layer(torch.stack(rows), layers, "nn", training)
    return largest(rows, edges[1].tolist(), target.size(0))


def sage_oracle(
    source: Tensor, target: Tensor, edges: Tensor, layers: Layers, training: bool
) -> Tensor:
    rows = torch.stack([source[j] for j in edges[0].tolist()])
    rows = basic_layer(rows, layers, "nn1", training)
    joined = torch.cat([target, largest(rows, edges[1].tolist(), target.size(0))], dim=1)
    return basic_layer(joined, layers, "nn2", training)


def gin_oracle(
    source: Tensor, target: Tensor, edges: Tensor, layers: Layers, training: bool
) -> Tensor:
    totals = []
    for node in range(target.size(0)):
        total = (1 + layers["eps"]) * target[node]
        for j, i in edges.t().tolist():
            if i == node:
                total = total + source[j]
        totals.append(total)
    return basic_layer(torch.stack(totals), layers, "nn", training)
