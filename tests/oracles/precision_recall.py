"""Precision and recall by counting at every threshold."""


def _counts(good, anomalous):
    for threshold in sorted({*good, *anomalous}, reverse=True):
        hits = sum(a >= threshold for a in anomalous)
        yield hits, sum(g >= threshold for g in good), len(anomalous) - hits


def f1_max(good, anomalous):
    """Highest F1 score of all thresholds."""
    return max(
        2 * hits / (2 * hits + wrong + missed) for hits, wrong, missed in _counts(good, anomalous)
    )


def average_precision(good, anomalous):
    """Precision at each threshold, weighted with the recall gained there."""
    total, before = 0.0, 0
    for hits, wrong, _ in _counts(good, anomalous):
        total += hits / (hits + wrong) * (hits - before) / len(anomalous)
        before = hits
    return total
