"""AUROC by counting pairs."""


def auroc(good, anomalous):
    """Share of pairs in which the anomalous image has the higher score; equal ones count half."""
    total = 0.0
    for a in anomalous:
        for g in good:
            total += 1.0 if a > g else 0.5 if a == g else 0.0
    return total / (len(good) * len(anomalous))
