"""Measures of one image's graph by sets and loops, in float64. Edges are (neighbour, centre)."""

import math


def neighbor_lists(edges, nodes):
    """Each node's neighbours without itself, in the order of the edges."""
    lists = [[] for _ in range(nodes)]
    for neighbor, center in edges:
        if neighbor != center:
            lists[center].append(neighbor)
    return lists


def overlap(first, second, nodes):
    values = []
    for a, b in zip(neighbor_lists(first, nodes), neighbor_lists(second, nodes), strict=True):
        either = set(a) | set(b)
        values.append(len(set(a) & set(b)) / len(either) if either else 1.0)
    return values


def coarsened(edges, fine, coarse, most):
    """The edges of the fine grid read on the coarse one, ``most[patch]`` neighbours a patch."""

    def patch(node):
        row, column = divmod(node, fine[1])
        y, x = (row + 0.5) / fine[0], (column + 0.5) / fine[1]
        return math.floor(y * coarse[0] + 1e-9) * coarse[1] + math.floor(x * coarse[1] + 1e-9)

    votes = [{} for _ in range(coarse[0] * coarse[1])]
    for center, neighbors in enumerate(neighbor_lists(edges, fine[0] * fine[1])):
        for rank, neighbor in enumerate(neighbors):
            if patch(neighbor) != patch(center):
                count, best = votes[patch(center)].get(patch(neighbor), (0, math.inf))
                votes[patch(center)][patch(neighbor)] = (count + 1, min(best, rank))
    kept = []
    for center, candidates in enumerate(votes):
        order = sorted(candidates, key=lambda n: (-candidates[n][0], candidates[n][1], n))
        kept += [(neighbor, center) for neighbor in order[: max(1, most[center])]]
    return kept


def edge_lengths(pos, edges, nodes):
    """Lengths of the edges of each node, a list a node."""
    return [
        [math.dist(pos[center], pos[neighbor]) for neighbor in neighbors]
        for center, neighbors in enumerate(neighbor_lists(edges, nodes))
    ]


def cosines(x, edges, nodes):
    """Cosines along the edges of each node, a list a node."""

    def cosine(a, b):
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))

    return [
        [cosine(x[center], x[neighbor]) for neighbor in neighbors]
        for center, neighbors in enumerate(neighbor_lists(edges, nodes))
    ]


def mean(values):
    return sum(values) / len(values) if values else 0.0


def in_degrees(edges, nodes):
    return [
        sum(node in neighbors for neighbors in neighbor_lists(edges, nodes))
        for node in range(nodes)
    ]


def components(edges, nodes):
    """The component of each node, by walking from every node not yet reached."""
    both = [set() for _ in range(nodes)]
    for neighbor, center in edges:
        both[center].add(neighbor)
        both[neighbor].add(center)
    found = [None] * nodes
    count = 0
    for start in range(nodes):
        if found[start] is None:
            waiting = [start]
            while waiting:
                node = waiting.pop()
                if found[node] is None:
                    found[node] = count
                    waiting += both[node]
            count += 1
    return found
