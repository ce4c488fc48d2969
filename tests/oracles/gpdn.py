"""The patch description network with a graph block, all layers written out, in double precision."""

import torch
import torch.nn.functional as F

from tests.oracles.knn_graph import knn_graph_oracle


def block_oracle(x, state, k):
    """Eq. 6-7 on the nodes ``[N, C]`` of one image, in float64, its neighbours by loops."""

    def linear(values, name):
        return values @ state[f"{name}.weight"].t() + state[f"{name}.bias"]

    def norm(values, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (values - mean) / (var + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    hidden = norm(linear(x, "fc_in.0"), "fc_in.1")
    neighbors = knn_graph_oracle(hidden, k, loop=True, cosine=True)[0].view(len(x), k)
    relative = hidden[neighbors].amax(1) - hidden
    joined = torch.stack([hidden, relative], dim=2).flatten(1)
    heads = zip(joined.chunk(4, 1), state["conv.lin.weight"], strict=True)
    conv = torch.cat([part @ weight for part, weight in heads], 1) + state["conv.lin.bias"]
    y = norm(linear(F.gelu(norm(conv, "conv.norm")), "fc_out.0"), "fc_out.1") + x
    return norm(linear(F.gelu(norm(linear(y, "ffn.0"), "ffn.1")), "ffn.3"), "ffn.4") + y


def gpdn_oracle(images, state, size, padding, k):
    """All layers written out, in float64, image by image."""
    state = {key: value.double() for key, value in state.items()}
    block = {key.removeprefix("vig."): v for key, v in state.items() if key.startswith("vig.")}
    wide, narrow = (3, 1) if padding else (0, 0)

    def conv(x, number, pad):
        return F.conv2d(x, state[f"conv{number}.weight"], state[f"conv{number}.bias"], padding=pad)

    outputs = []
    for image in images.double():
        x = F.avg_pool2d(F.relu(conv(image[None], 1, wide)), 2, 2, padding=narrow)
        x = F.avg_pool2d(F.relu(conv(x, 2, wide)), 2, 2, padding=narrow)
        if size == "medium":
            x = F.relu(conv(x, 3, 0))
        rows, columns = x.shape[-2:]
        nodes = torch.stack([x[0, :, i, j] for i in range(rows) for j in range(columns)])
        nodes = F.relu(block_oracle(nodes, block, k)).tolist()
        kept = range(rows) if padding else range(1, rows - 1)
        across = range(columns) if padding else range(1, columns - 1)
        x = torch.tensor(
            [[nodes[i * columns + j] for j in across] for i in kept], dtype=torch.float64
        )
        x = x.permute(2, 0, 1)[None]
        x = conv(x, 4, 0) if size == "small" else conv(F.relu(conv(x, 5, 0)), 6, 0)
        outputs.append(x)
    return torch.cat(outputs)
