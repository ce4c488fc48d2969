"""The largest difference to the neighbours and its gradient by plain loops, in double precision."""

import torch
from torch import Tensor


def max_relative_oracle(
    source: Tensor, target: Tensor, edge_index: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the values, and the gradients of sum(values * gradient) for source and target."""
    values = torch.zeros_like(target, dtype=torch.float64)
    grad_source = torch.zeros_like(source, dtype=torch.float64)
    grad_target = torch.zeros_like(target, dtype=torch.float64)
    edges = edge_index.t().tolist()
    for i in range(target.size(0)):
        neighbors = [j for j, centre in edges if centre == i]
        for channel in range(target.size(1)):
            best = None
            for j in neighbors:  # strictly larger: the first of equal ones stays
                if best is None or source[j, channel] > source[best, channel]:
                    best = j
            if best is not None:
                values[i, channel] = source[best, channel].double() - target[i, channel].double()
                grad_source[best, channel] += gradient[i, channel]
                grad_target[i, channel] -= gradient[i, channel]
    return values, grad_source, grad_target


def interleaved_grouped_linear_oracle(
    x: Tensor, relative: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Apply the heads to [x_0, relative_0, x_1, relative_1, ...] one output at a time."""
    heads, width, out = weight.shape
    result = torch.zeros(x.size(0), heads * out, dtype=torch.float64)
    for node in range(x.size(0)):
        joined = []
        for channel in range(x.size(1)):
            joined += [float(x[node, channel]), float(relative[node, channel])]
        for head in range(heads):
            part = joined[head * width : (head + 1) * width]
            for column in range(out):
                total = sum(a * float(weight[head, row, column]) for row, a in enumerate(part))
                result[node, head * out + column] = total + float(bias[head * out + column])
    return result
