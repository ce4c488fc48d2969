"""Numbers of nodes and of connected components, by flood fill."""


def numbers(grid, kinds, least):
    """Nodes, then components of at least so many nodes, of each kind: a set of the grid's values."""
    rows, columns = len(grid), len(grid[0])
    nodes, components = [], []
    for kind in kinds:
        left = {(r, c) for r in range(rows) for c in range(columns) if grid[r][c] in kind}
        nodes.append(len(left))
        found = 0
        while left:
            size, border = 0, [left.pop()]
            while border:
                r, c = border.pop()
                size += 1
                for place in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                    if place in left:
                        left.remove(place)
                        border.append(place)
            found += size >= least
        components.append(found)
    return nodes + components
