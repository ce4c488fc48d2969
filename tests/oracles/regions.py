"""Connected regions by walking from pixel to pixel."""


def regions(mask):
    """Sets of pixels that touch at a side or at a corner."""
    left = {(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]}
    result = []
    while left:
        region, ahead = set(), [left.pop()]
        while ahead:
            y, x = ahead.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            ahead += near
        result.append(region)
    return result
