"""Vision HGNN by loops over images, clusters and points, in the order of the published code.

There, images of a batch change each other's hyperedges; with ``joint=False`` each is as if alone.
"""

import torch


def memberships(x, start, m=2, iterations=15, tol=1e-3, joint=True):
    """Degrees ``[B, N, K]`` for points ``[B, N, C]`` from first memberships ``[B, N, K]``."""
    if not joint:
        images = zip(x, start, strict=True)
        return torch.cat([memberships(p[None], u[None], m, iterations, tol) for p, u in images])
    u = start / start.sum(2, keepdim=True)
    for number in range(iterations):
        new = torch.empty_like(u)
        for b in range(len(x)):
            powers = []
            for k in range(u.size(2)):
                weight = u[b, :, k] ** m
                center = (weight[:, None] * x[b]).sum(0) / weight.sum()
                square = ((x[b] - center) ** 2).sum(1).clamp(min=1e-10)
                powers.append(square ** (-1 / (m - 1)))
            for k in range(u.size(2)):
                new[b, :, k] = powers[k] / sum(powers)
        new[new.isnan()] = 1 / u.size(2)
        change = (new - u).norm()
        u = new
        if number > 0 and change < tol:
            break
    return u


def incidences(u, threshold=0.01, joint=True):
    """The members of each image's hyperedges, and the hyperedges that its points read, as lists."""
    if not joint:
        parts = [incidences(one[None], threshold) for one in u]
        return [part[0][0] for part in parts], [part[1][0] for part in parts]
    any_weak = bool((u.amax(2) < 0.1).any())
    feeding, reading = [], []
    for image in u.tolist():
        members = [[] for _ in image[0]]
        read = []
        for n, row in enumerate(image):
            best = row.index(max(row))
            if not any_weak:
                own = [k for k, value in enumerate(row) if value > threshold]
            elif max(row) < 0.1:
                own = [best]
            else:
                own = [k for k, value in enumerate(row) if value > 0.5]
            for k in own:
                members[k].append(n)
            read.append(own or [best])
        feeding.append(members)
        reading.append(read)
    return feeding, reading


def convolve(maps, feeding, reading, eps, layer, padding=None):
    """Maps ``[B, 2C, H, W]`` for maps ``[B, C, H, W]``.

    Args:
        layer: ``(maps, name) -> maps``, grouped convolution, batch normalization and GELU.
        padding: ``"last"`` fills all lists up to the longest with the last number.
    """
    rows = maps.flatten(2).transpose(1, 2)
    edges = layer(_means(rows, feeding, padding), "nn_node_to_hyperedge")
    edges = edges.flatten(2).transpose(1, 2)
    read = _means(edges, reading, padding).view_as(maps)
    return layer((1 + eps) * maps + read, "nn_hyperedge_to_node")


def _means(rows, lists, padding):
    """The mean of each list of rows ``[B, M, C]``, zero for none: ``[B, C, lists, 1]``."""
    longest = max(1, max(len(numbers) for image in lists for numbers in image))
    out = []
    for b, image in enumerate(lists):
        last = rows.size(1) - 1
        means = []
        for numbers in image:
            if padding == "last":
                numbers = numbers + [last] * (longest - len(numbers))
            means.append(rows[b, numbers].mean(0) if numbers else 0 * rows[b, 0])
        out.append(torch.stack(means).t())
    return torch.stack(out).unsqueeze(3)


def hypergraph_operator(start, k=25, padding="last", joint=True, seen=None):
    """The operator of all blocks, for :func:`tests.oracles.pyramid_vig.vig_oracle`.

    Args:
        start: ``(points, clusters) -> [points, clusters]``, the first memberships of every image.
        seen: A list that takes the incidences of every block.
    """

    def operator(maps, eps, layer):
        with torch.no_grad():
            x = maps.flatten(2).transpose(1, 2)
            clusters = min(k, x.size(1))  # less than k points: our reading
            u = start(x.size(1), clusters).to(x).expand(len(x), -1, -1)
            feeding, reading = incidences(memberships(x, u, joint=joint), joint=joint)
        if seen is not None:
            seen.append((feeding, reading))
        return convolve(maps, feeding, reading, eps, layer, padding)

    return operator
