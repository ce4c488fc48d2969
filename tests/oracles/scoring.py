"""Slow and obvious re-computations of maps, losses, distances and quantiles, in float64."""

import math

import numpy as np
import torch


def mean_squared_map(first, second):
    """Loop over every pixel and channel."""
    images, channels, rows, columns = first.shape
    result = torch.zeros(images, rows, columns, dtype=torch.float64)
    for b in range(images):
        for y in range(rows):
            for x in range(columns):
                total = 0.0
                for c in range(channels):
                    total += (float(first[b, c, y, x]) - float(second[b, c, y, x])) ** 2
                result[b, y, x] = total / channels
    return result


def mean_square(first, second):
    """(1 / CWH) of the squared Frobenius norms, averaged over the images."""
    images, channels, rows, columns = first.shape
    total = 0.0
    for b in range(images):
        for c in range(channels):
            total += (
                float(np.linalg.norm((first[b, c] - second[b, c]).double().numpy(), "fro")) ** 2
            )
    return total / (images * channels * rows * columns)


def hard_mean(values, quantile):
    """Sort, then average the highest."""
    ordered = sorted((float(v) for v in values.flatten()), reverse=True)
    kept = max(1, len(ordered) - int(quantile * len(ordered)))
    return sum(ordered[:kept]) / kept


def mahalanobis(vectors, mean, covariance):
    """Invert the covariance and go through the vectors one by one."""
    inverse = np.linalg.inv(covariance)
    distances = []
    for vector in vectors:
        centred = vector - mean
        distances.append(math.sqrt(float(centred @ inverse @ centred)))
    return torch.tensor(distances)


def ledoit_wolf(vectors):
    """Ledoit and Wolf (2004): shrink the sample covariance towards a multiple of the identity."""
    n, p = vectors.shape
    centred = vectors - vectors.mean(0)
    sample = centred.T @ centred / n
    mu = np.trace(sample) / p
    delta = ((sample - mu * np.eye(p)) ** 2).sum() / p
    beta = 0.0
    for row in centred:
        beta += ((np.outer(row, row) - sample) ** 2).sum() / p
    shrinkage = min(beta / n**2, delta) / delta
    return (1 - shrinkage) * sample + shrinkage * mu * np.eye(p)


def shrunk_moments(distances):
    """Means and standard deviations of nodes over few images ``[images, nodes]``, node by node."""
    images, nodes = distances.shape
    means = [distances[:, i].mean() for i in range(nodes)]
    variances = [((distances[:, i] - means[i]) ** 2).mean() for i in range(nodes)]
    mean, variance = np.mean(means), np.mean(variances)
    between = np.mean([(value - mean) ** 2 for value in means])
    if images == 1:
        return np.full(nodes, mean), np.full(nodes, math.sqrt(between))
    noise = variance / (images - 1)
    signal = max(0.0, between - noise)
    own = images**2 / (images**2 + 20**2)
    centers = [mean + signal / (signal + noise) * (value - mean) for value in means]
    scales = [math.sqrt(own * value + (1 - own) * variance) for value in variances]
    return np.array(centers), np.array(scales)


def window_mean(features, top, left, size):
    """Average, channel by channel, what of a window lies within the map of one image."""
    _, rows, columns = features.shape
    inside = [
        features[:, y, x].double().numpy()
        for y in range(top, top + size)
        for x in range(left, left + size)
        if 0 <= y < rows and 0 <= x < columns
    ]
    return sum(inside) / len(inside)


def here_or_elsewhere(vectors, train, kept, grid, window, stride, k, more=()):
    """Mean of the k smallest squared distances here, less that of the k smallest elsewhere.

    ``vectors`` are ``[node, d]`` of one image, ``train`` ``[image, node, d]``, ``kept`` pairs of image
    and node that serve as elsewhere, ``grid`` the rows and columns; ``more`` are vectors ``[d]`` that are
    elsewhere for every node. On a grid where some node has none so far away, only its own place is not.
    """

    def apart(i, j):
        down, right = abs(i // grid[1] - j // grid[1]), abs(i % grid[1] - j % grid[1])
        return max(down, right) * stride

    if not all(any(apart(i, j) >= window for _, j in kept) for i in range(len(vectors))):
        window = 1
    scores = []
    for i, z in enumerate(vectors):
        here = sorted(float(((z - image[i]) ** 2).sum()) for image in train)
        elsewhere = []
        for image, j in kept:
            if apart(i, j) >= window:
                elsewhere.append(float(((z - train[image][j]) ** 2).sum()))
        elsewhere += [float(((z - other) ** 2).sum()) for other in more]
        elsewhere.sort()
        scores.append(np.mean(here[:k]) - np.mean(elsewhere[:k]))
    return np.array(scores)


def normalized(features, train):
    """Subtract the mean and divide by the standard deviation of each channel over the training images."""
    mean = train.mean((0, 2, 3), keepdims=True)
    std = np.sqrt(((train - mean) ** 2).mean((0, 2, 3), keepdims=True))
    return (features - mean) / std


def calibrated(maps, validation, start, end):
    """Two quantiles of the validation maps become 0 and 0.1, linearly."""
    low, high = np.quantile(validation.flatten(), [start, end])
    return 0.1 * (maps - low) / (high - low)


def standardized(scores, validation):
    return (scores - validation.mean()) / validation.std()


def viglad_scores(train, validation, test, quantiles, threshold_quantile):
    """Section III-D with PUAD's fusion: maps, A_r, A_f and A of the test images, and the threshold.

    Each of the three is a dictionary of the networks' outputs ``[B, C, h, w]``, ``teacher`` raw, ``first``,
    ``second`` and ``autoencoder``.
    """
    found = {}
    mean = train["second"].mean((2, 3)).mean(0)
    covariance = ledoit_wolf(train["second"].mean((2, 3)))
    raw = {}
    for name, part in (("validation", validation), ("test", test)):
        teacher = normalized(part["teacher"], train["teacher"])
        raw[name] = (
            ((teacher - part["first"]) ** 2).mean(1),
            ((part["autoencoder"] - part["second"]) ** 2).mean(1),
        )
    for name, part in (("validation", validation), ("test", test)):
        local, global_ = (
            calibrated(maps, held_out, *quantiles)
            for maps, held_out in zip(raw[name], raw["validation"], strict=True)
        )
        merged = (local + global_) / 2
        reconstruction = np.array([image.max() for image in merged])
        feature = mahalanobis(part["second"].mean((2, 3)), mean, covariance).double().numpy()
        found[name] = (local, global_, merged, reconstruction, feature)
    score = {
        name: standardized(found[name][3], found["validation"][3])
        + standardized(found[name][4], found["validation"][4])
        for name in found
    }
    threshold = np.quantile(score["validation"], threshold_quantile)
    return *found["test"], score["test"], threshold


def jittered(images, draws):
    """Brightness (0), contrast (1) or saturation (2) by a factor, image by image, pixel by pixel."""
    changed = images.clone()
    for number, (factor, kind) in enumerate(draws):
        red, green, blue = images[number]
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
        for channel in range(3):
            base = (0 * gray, gray.mean() + 0 * gray, gray)[kind]
            values = factor * images[number, channel] + (1 - factor) * base
            changed[number, channel] = values.clamp(0, 1)
    return changed


def whitened(vectors, directions, shrinkage):
    """Standardise, take the singular vectors, divide each by its shrunk standard deviation; by loops.

    Axes have no sign: of the two, the one whose entry of largest size is positive.
    """
    standardized = (vectors - vectors.mean(0)) / vectors.std(0)
    _, singular, axes = np.linalg.svd(standardized, full_matrices=False)
    variances = singular**2 / len(vectors)
    columns = []
    for number in range(directions):
        axis = axes[number] * np.sign(axes[number][np.abs(axes[number]).argmax()])
        column = np.array([float(axis @ vector) for vector in standardized])
        if not math.isinf(shrinkage):
            column = column / math.sqrt(variances[number] + shrinkage * variances[0])
        columns.append(column)
    result = np.stack(columns, axis=1)
    return result / math.sqrt(np.mean([column.var() for column in columns]))
