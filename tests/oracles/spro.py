"""Areas under curves of pixels in fractions: one threshold, one pixel at a time."""

from fractions import Fraction
from itertools import pairwise


def au_spro(maps, targets, limit):
    """Integrate the saturated overlap; a target is a list of (mask, saturation area)."""
    values = sorted({float(v) for m in maps for v in m.flatten()}, reverse=True)
    points = [_point(maps, targets, threshold) for threshold in [*values, float("-inf")]]
    limit = Fraction(limit)
    area = Fraction(0)
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            height = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + height) / 2
    return float(area / limit)


def _point(maps, targets, threshold):
    wrong = good = 0
    overlaps = []
    for anomaly_map, target in zip(maps, targets, strict=True):
        found = [0] * len(target)
        for y in range(anomaly_map.shape[0]):
            for x in range(anomaly_map.shape[1]):
                above = float(anomaly_map[y, x]) > threshold
                inside = [c for c, (mask, _) in enumerate(target) if mask[y, x]]
                for c in inside:
                    found[c] += above
                if not inside:
                    good += 1
                    wrong += above
        for c, (_, saturation) in enumerate(target):
            overlaps.append(min(Fraction(found[c]) / Fraction(saturation), 1))
    return Fraction(wrong, good), sum(overlaps) / Fraction(len(overlaps))
