"""Pyramid ViG and isotropic ViG in the published layout, every layer written out on dense maps."""

import math

import torch
import torch.nn.functional as F

PYRAMID_WIDTHS = {
    "ti": (48, 96, 240, 384),
    "s": (80, 160, 400, 640),
    "m": (96, 192, 384, 768),
    "b": (128, 256, 512, 1024),
}
PYRAMID_DEPTHS = {"ti": (2, 2, 6, 2), "s": (2, 2, 6, 2), "m": (2, 2, 16, 2), "b": (2, 2, 18, 2)}
ISOTROPIC = {"ti": (192, 12), "s": (320, 16), "b": (640, 16)}  # width, blocks
REDUCE_RATIOS = (4, 2, 1, 1)
GROUPS = 4


def relative_position_table(channels, side, reduce_ratio, dtype=torch.float64):
    """-T of a stage of ``side`` x ``side`` nodes: ``[1, n, n / reduce_ratio ** 2]``."""

    def code(p):
        omegas = [10000 ** (-i / (channels // 4)) for i in range(channels // 4)]
        return [math.sin(p * w) for w in omegas] + [math.cos(p * w) for w in omegas]

    codes = [code(p) for p in range(side)]
    rows = [codes[column] + codes[row] for row in range(side) for column in range(side)]
    e = torch.tensor(rows, dtype=torch.float64)
    t = 2 * e @ e.t() / channels
    n = side * side
    size = (n, n // reduce_ratio**2)
    t = F.interpolate(t.to(dtype)[None, None], size=size, mode="bicubic", align_corners=False)
    return -t[0]


def backbone(model, variant):
    """Entries of ``backbone``: None for a downsampling, else (width, k, dilation, r, side at 224)."""
    if model == "isotropic":
        width, depth = ISOTROPIC[variant]
        ks = [int(k) for k in torch.linspace(9, 18, depth)]
        return [(width, k, min(i // 4 + 1, 196 // max(ks)), 1, None) for i, k in enumerate(ks)]
    entries, number, side = [], 0, 56
    stages = zip(PYRAMID_WIDTHS[variant], PYRAMID_DEPTHS[variant], REDUCE_RATIOS, strict=True)
    for stage, (width, depth, r) in enumerate(stages):
        if stage:
            entries.append(None)
            side //= 2
        for _ in range(depth):
            entries.append((width, 9, min(number // 4 + 1, 49 // 9), r, side))
            number += 1
    return entries


def reference_state(
    model, variant, num_classes=10, seed=0, table_dtype=torch.float64, operator=None, images=None
):
    """A random state dict of the published layout, its batch-norm statistics run in on images.

    Published tables are float32; those of float64 leave no near-ties that rounding could swap. With an
    ``operator`` as :func:`vig_oracle` takes it the layout is that of Vision HGNN.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def conv(name, c_in, c_out, kernel=1, groups=1):
        fan = c_in // groups * kernel**2
        shape = (c_out, c_in // groups, kernel, kernel)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(c_out, generator=generator)

    def norm(name, channels):
        state[f"{name}.weight"] = 0.5 + torch.rand(channels, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(channels, generator=generator)
        state[f"{name}.running_mean"] = torch.zeros(channels)
        state[f"{name}.running_var"] = torch.ones(channels)
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    isotropic = model == "isotropic"
    width = ISOTROPIC[variant][0] if isotropic else PYRAMID_WIDTHS[variant][0]
    side = 14 if isotropic else 56
    state["pos_embed"] = 0.1 * torch.randn(1, width, side, side, generator=generator)
    parts = (8, 4, 2, 1, 1) if isotropic else (2, 1, 1)
    c_in = 3
    for number, part in enumerate(parts):
        conv(f"stem.convs.{3 * number}", c_in, width // part, 3)
        norm(f"stem.convs.{3 * number + 1}", width // part)
        c_in = width // part
    widths = iter(PYRAMID_WIDTHS.get(variant, ())[1:])
    for number, entry in enumerate(backbone(model, variant)):
        name = f"backbone.{number}"
        if entry is None:
            next_width = next(widths)
            conv(f"{name}.conv.0", width, next_width, 3)
            norm(f"{name}.conv.1", next_width)
            width = next_width
            continue
        _, _, _, r, side = entry
        if side is not None:
            table = relative_position_table(width, side, r, table_dtype)
            state[f"{name}.0.relative_pos"] = table
        conv(f"{name}.0.fc1.0", width, width)
        norm(f"{name}.0.fc1.1", width)
        gconv = f"{name}.0.graph_conv.gconv"
        if operator is None:
            conv(f"{gconv}.nn.0", 2 * width, 2 * width, groups=GROUPS)
            norm(f"{gconv}.nn.1", 2 * width)
        else:
            state[f"{gconv}.eps"] = 0.3 * torch.randn(1, generator=generator)
            for layer, c_out in (
                ("nn_node_to_hyperedge", width),
                ("nn_hyperedge_to_node", 2 * width),
            ):
                conv(f"{gconv}.{layer}.0", width, c_out, groups=GROUPS)
                norm(f"{gconv}.{layer}.1", c_out)
        conv(f"{name}.0.fc2.0", 2 * width, width)
        norm(f"{name}.0.fc2.1", width)
        conv(f"{name}.1.fc1.0", width, 4 * width)
        norm(f"{name}.1.fc1.1", 4 * width)
        conv(f"{name}.1.fc2.0", 4 * width, width)
        norm(f"{name}.1.fc2.1", width)
    conv("prediction.0", width, 1024)
    norm("prediction.1", 1024)
    conv("prediction.4", 1024, num_classes)
    if images is None:
        images = torch.rand(2, 3, 224, 224, generator=generator) * 2 - 1
    vig_oracle(state, images, model, variant, torch.float32, run_in=True, operator=operator)
    return state


@torch.no_grad()
def vig_oracle(state, images, model, variant, dtype=torch.float64, run_in=False, operator=None):
    """Logits ``[B, classes]`` and the neighbours ``[B, N, k]`` of every block.

    With ``run_in`` the statistics of the batch are used, and become those of the state dict. An
    ``operator`` ``(maps, eps, layer) -> maps`` takes the place of the max-relative one, and there are no
    neighbours; ``layer(maps, name)`` is one of its layers.
    """
    weights = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()
    }

    def conv(x, name, stride=1, padding=0, groups=1):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)

    def norm(x, name):
        if run_in:
            state[f"{name}.running_mean"] = x.mean((0, 2, 3))
            state[f"{name}.running_var"] = x.var((0, 2, 3))
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        else:
            mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale = weights[f"{name}.weight"] / (var + 1e-5).sqrt()
        shift = weights[f"{name}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = images.to(dtype)
    strides = (2, 2, 2, 2, 1) if model == "isotropic" else (2, 2, 1)
    for number, stride in enumerate(strides):
        x = norm(conv(x, f"stem.convs.{3 * number}", stride, 1), f"stem.convs.{3 * number + 1}")
        if number < len(strides) - 1:
            x = F.gelu(x)
    position = weights["pos_embed"]
    if position.shape[2:] != x.shape[2:]:  # at other sizes the reference stops: our reading
        position = F.interpolate(position, x.shape[2:], mode="bicubic", align_corners=False)
    x = x + position

    neighbors = []
    for number, entry in enumerate(backbone(model, variant)):
        name = f"backbone.{number}"
        if entry is None:
            x = norm(conv(x, f"{name}.conv.0", 2, 1), f"{name}.conv.1")
            continue
        hidden = norm(conv(x, f"{name}.0.fc1.0"), f"{name}.0.fc1.1")
        gconv = f"{name}.0.graph_conv.gconv"

        def layer(maps, part, gconv=gconv):
            maps = conv(maps, f"{gconv}.{part}.0", groups=GROUPS)
            return F.gelu(norm(maps, f"{gconv}.{part}.1"))

        if operator is None:
            pooled = F.avg_pool2d(hidden, entry[3])
            table = weights.get(f"{name}.0.relative_pos")
            index = nearest(hidden, pooled, entry[1], entry[2], table)
            neighbors.append(index)
            out = layer(interleave(hidden, largest_difference(hidden, pooled, index)), "nn")
        else:
            out = operator(hidden, weights[f"{gconv}.eps"], layer)
        x = norm(conv(out, f"{name}.0.fc2.0"), f"{name}.0.fc2.1") + x
        out = F.gelu(norm(conv(x, f"{name}.1.fc1.0"), f"{name}.1.fc1.1"))
        x = norm(conv(out, f"{name}.1.fc2.0"), f"{name}.1.fc2.1") + x

    x = x.mean((2, 3), keepdim=True)
    x = F.gelu(norm(conv(x, "prediction.0"), "prediction.1"))
    return conv(x, "prediction.4").flatten(1), neighbors


def nearest(hidden, pooled, k, dilation, table=None):
    """Neighbours ``[B, N, k]`` among the pooled maps by a matrix of all distances."""
    x = F.normalize(hidden.flatten(2).transpose(1, 2), dim=2)
    y = F.normalize(pooled.flatten(2).transpose(1, 2), dim=2)
    distance = x.square().sum(2)[:, :, None] + y.square().sum(2)[:, None] - 2 * x @ y.mT
    if table is not None:
        if table.shape[1:] != distance.shape[1:]:
            size = distance.shape[1:]
            table = F.interpolate(table[None], size, mode="bicubic", align_corners=False)[0]
        distance = distance + table
    return distance.topk(k * dilation, dim=2, largest=False).indices[:, :, ::dilation]


def largest_difference(hidden, pooled, index):
    """max_j (q_j - p_i) as maps."""
    x, y = hidden.flatten(2).transpose(1, 2), pooled.flatten(2).transpose(1, 2)
    gathered = torch.stack([image[rows] for image, rows in zip(y, index, strict=True)])
    return (gathered - x[:, :, None]).amax(2).transpose(1, 2).view_as(hidden)


def interleave(first, second):
    """Channels first_0, second_0, first_1, second_1, ..."""
    return torch.stack([first, second], dim=2).flatten(1, 2)
