"""The graphs of the builders by plain loops: for each node the list of its neighbours."""

import math

import networkx as nx
import numpy as np

from tests.oracles.knn_graph import knn_graph_oracle


def knn(x, k, dilation=1, grid_size=None):
    edges = knn_graph_oracle(x, min(k, len(x)), dilation=dilation, loop=True, cosine=True)
    return grouped(edges.t().tolist(), len(x))


def undirected(x, k, dilation=1, grid_size=None):
    chosen = knn(x, k, dilation)
    return connected(x, {frozenset((i, j)) for i in range(len(x)) for j in chosen[i]})


def mutual(x, k, dilation=1, grid_size=None):
    chosen = knn(x, k, dilation)
    pairs = {frozenset((i, j)) for i in range(len(x)) for j in chosen[i] if i in chosen[j]}
    return connected(x, pairs)


def connected(x, pairs):
    """Kruskal's algorithm over all pairs of nodes; then neighbours by distance."""
    network = nx.Graph()
    network.add_nodes_from(range(len(x)))
    network.add_edges_from(tuple(pair) * (3 - len(pair)) for pair in map(tuple, pairs))
    units = unit(x)
    ranked = sorted(
        (math.dist(units[i], units[j]), i, j) for i in range(len(x)) for j in range(i + 1, len(x))
    )
    for _, i, j in ranked:
        if not nx.has_path(network, i, j):
            network.add_edge(i, j)
    return [
        sorted(network[i], key=lambda j, i=i: (j != i, math.dist(units[i], units[j]), j))
        for i in range(len(x))
    ]


def window(x, k, dilation=1, grid_size=None, size=7, number=0):
    rows, columns = grid_size
    shifts = [size // 2 if number % 2 == 1 and side > size else 0 for side in grid_size]
    window_of = [
        ((row + shifts[0]) // size, (column + shifts[1]) // size)
        for row in range(rows)
        for column in range(columns)
    ]
    neighbors = []
    for i in range(len(x)):
        members = [j for j in range(len(x)) if window_of[j] == window_of[i]]
        local = knn(x[members], k, dilation)[members.index(i)]
        neighbors.append([members[j] for j in local])
    return neighbors


def axial(x, k, dilation=1, grid_size=None, step=2):
    rows, columns = grid_size
    neighbors = []
    for row in range(rows):
        for column in range(columns):
            vertical = [(row - i) % rows * columns + column for i in range(step, rows, step)]
            across = [row * columns + (column - i) % columns for i in range(step, columns, step)]
            neighbors.append([row * columns + column, *vertical, *across])
    return neighbors


def grid(x, k, dilation=1, grid_size=None):
    rows, columns = grid_size
    neighbors = []
    for row in range(rows):
        for column in range(columns):
            around = [
                r * columns + c
                for r in range(row - 1, row + 2)
                for c in range(column - 1, column + 2)
                if 0 <= r < rows and 0 <= c < columns and (r, c) != (row, column)
            ]
            neighbors.append([row * columns + column, *around])
    return neighbors


def adaptive(x, k, dilation=1, grid_size=None, max_neighbors=None, deviations=0.0):
    candidates = knn(x, max_neighbors or 2 * k, dilation)
    units = unit(x)
    lengths = [[math.dist(units[i], units[j]) for j in row[1:]] for i, row in enumerate(candidates)]
    flat = np.array(lengths)
    radius = flat.mean() - deviations * flat.std() if flat.size else 0.0
    return [
        [row[0]] + [j for j, length in zip(row[1:], ls, strict=True) if length <= radius]
        for row, ls in zip(candidates, lengths, strict=True)
    ]


def position(x, k, dilation=1, grid_size=None, weight=1.0):
    rows, columns = grid_size
    units = unit(x)
    neighbors = []
    for i in range(len(x)):
        ranked = []
        for j in range(len(x)):
            place = (i // columns - j // columns) ** 2 + (i % columns - j % columns) ** 2
            square = math.dist(units[i], units[j]) ** 2
            square += weight**2 * place / max(rows, columns) ** 2
            ranked.append((j != i, round(square, 9), j))  # ties by number
        ranked.sort()
        k = min(k, len(x))
        step = max(1, min(dilation, len(x) // k))
        neighbors.append([j for *_, j in ranked[: k * step : step]])
    return neighbors


def random(x, k, dilation=1, grid_size=None, seed=0, number=0):
    """Floyd's sampling, the 32-bit hash in Python's own integers."""
    nodes, neighbors = len(x), []
    for i in range(nodes):
        key = mixed(mixed(mixed(seed) + number) + i)
        others, taken = [j for j in range(nodes) if j != i], []
        for top in range(nodes - min(k, nodes), nodes - 1):
            key = mixed(key + top)
            draw = key * (top + 1) // 2**32
            taken.append(top if draw in taken else draw)
        neighbors.append([i] + [others[j] for j in taken])
    return neighbors


def mixed(key):
    for _ in range(2):
        key = ((key >> 16) ^ key) * 0x45D9F3B % 2**32
    return (key >> 16) ^ key


def unit(x):
    rows = x.double().numpy()
    norms = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return (rows / np.where(norms > 0, norms, 1)).tolist()


def grouped(edges, nodes):
    neighbors = [[] for _ in range(nodes)]
    for j, i in edges:
        neighbors[i].append(j)
    return neighbors
