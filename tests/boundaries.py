"""Boundaries of known dimension: functions of points in the unit square, drawn at random."""

import itertools

import numpy as np

GENERATIONS = 20
"""Halvings of a random midpoint displacement, and scales of a sum of waves, far below any that is looked at."""


def line(generator):
    angle, centre = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 0.7, 2)
    return 1.0, lambda points: ((points - centre) @ [np.cos(angle), np.sin(angle)] > 0).astype(int)


def disks(generator):
    centres, radii = generator.uniform(0, 1, (generator.integers(1, 6), 2)), generator.uniform(0.1, 0.4, 6)
    return 1.0, lambda points: sum(
        np.hypot(*(points - centre).T) < radius for centre, radius in zip(centres, radii, strict=False)
    ).astype(int)


def wave(generator):
    height, waves, shift = generator.uniform(0.05, 0.3), generator.uniform(0.5, 4), generator.uniform(0, 6)
    return 1.0, lambda points: (points[:, 1] > 0.5 + height * np.sin(2 * np.pi * waves * points[:, 0] + shift)).astype(
        int
    )


def nearest(generator):
    centres = generator.uniform(0, 1, (generator.integers(3, 9), 2))
    return 1.0, lambda points: np.argmin(np.stack([np.hypot(*(points - centre).T) for centre in centres]), axis=0)


def weierstrass(generator):
    """Graph of a sum of waves; its box dimension is Hardy's."""
    dimension, ratio = generator.uniform(1.2, 1.8), generator.uniform(1.5, 3)
    number = int(GENERATIONS * np.log(2) / np.log(ratio))
    shifts, height = generator.uniform(0, 2 * np.pi, number), generator.uniform(0.1, 0.4)

    def labels_of(points):
        waves = [
            ratio ** ((dimension - 2) * k) * np.cos(ratio**k * points[:, 0] + shift) for k, shift in enumerate(shifts)
        ]
        return np.floor(2 * (points[:, 1] + height * sum(waves))).astype(int) % 2

    return dimension, labels_of


def displaced(generator):
    """Graph of random midpoint displacement, which a fractional Brownian motion of that exponent resembles."""
    dimension, height = generator.uniform(1.2, 1.8), generator.uniform(0.2, 0.6)
    values = generator.normal(0, 0.3 * height, 2)
    for k in range(1, GENERATIONS + 1):
        size = height * 2 ** ((dimension - 2) * k) * np.sqrt(1 - 2 ** (2 - 2 * dimension))
        middle = (values[1:] + values[:-1]) / 2 + generator.normal(0, size, len(values) - 1)
        values = np.append(np.stack([values[:-1], middle], axis=1).ravel(), values[-1])
    at = np.linspace(0, 1, len(values))
    return dimension, lambda points: np.floor(2 * (points[:, 1] + np.interp(points[:, 0], at, values))).astype(int) % 2


def cantor(generator):
    """Cantor set times lines, along either axis; gaps of one generation have one label."""
    ratio, start = generator.uniform(0.15, 0.45), generator.uniform(-0.2, 0)
    width, axis = generator.uniform(1.2, 1.5), generator.integers(2)

    def labels_of(points):
        x = (points[:, axis] - start) / width
        labels, inside = np.zeros(len(x), int), (x >= 0) & (x <= 1)
        for k in range(1, 40):
            gap = inside & (x > ratio) & (x < 1 - ratio)
            labels[gap], inside = k % 2, inside & ~gap
            x = np.where(x < 0.5, x / ratio, (x - 1 + ratio) / ratio)
        return labels

    return 1 + np.log(2) / np.log(1 / ratio), labels_of


FAMILIES = {family.__name__: family for family in (line, disks, wave, nearest, weierstrass, displaced, cantor)}


def map_of(labels_of, size):
    x, y = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    return np.reshape(labels_of(np.stack([x.ravel(), y.ravel()], axis=1)), (size, size))


def koch(generator, size):
    """A map below a curve of Koch's kind, of four copies of itself, at a random angle of its roof."""
    angle = generator.uniform(0.5, 1.2)
    ratio = 1 / (2 + 2 * np.cos(angle))
    places = np.array([0, 1], complex)
    for _ in range(8):
        start, along = places[:-1], np.diff(places)
        roof = start + along * ratio * (1 + np.exp(1j * angle))
        corners = [start, start + along * ratio, roof, start + along * (1 - ratio)]
        places = np.append(np.stack(corners, axis=1).ravel(), places[-1])
    tilt = np.exp(1j * generator.uniform(0, 2 * np.pi))
    places = (places - 0.5 - 0.1j) * 1.9 * tilt + generator.uniform(0.4, 0.6) + 0.5j
    closed = np.concatenate([places, [places[-1] - 9j * tilt, places[0] - 9j * tilt, places[0]]])
    return np.log(4) / np.log(1 / ratio), _filled(closed, size)


def _filled(corners, size):
    """Inside a polygon or not: every edge flips all that lies to the right of where it crosses a row."""
    flips = np.zeros((size, size + 1), int)
    spread = size - 1
    for start, end in itertools.pairwise(corners):
        low, high = sorted((start.imag * spread, end.imag * spread))
        rows = np.arange(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), size))
        if rows.size:
            share = (rows / spread - start.imag) / (end.imag - start.imag)
            x = (start.real + share * (end.real - start.real)) * spread
            np.add.at(flips, (rows, np.clip(np.ceil(x), 0, size).astype(int)), 1)
    return np.cumsum(flips, axis=1)[:, :size] % 2


# Iterated maps; each gives labels of points [N, 2], and the window that they are known in.


def newton(points, num_steps=60):
    """Which root of z^3 = 1 Newton's method finds."""
    z = points @ np.array([1, 1j])
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            z = z - (z**3 - 1) / (3 * z**2)
        distances = np.abs(z[:, None] - np.exp(2j * np.pi * np.arange(3) / 3))
    return np.where(np.isfinite(z), np.argmin(np.nan_to_num(distances, nan=9.0), axis=1), 3)


def grebogi(points, num_steps=100):
    """Which of the two attractors, at angle 0 or pi, a point comes to."""
    angle, x = points.T
    for _ in range(num_steps):
        turned = angle + 1.32 * np.sin(2 * angle) - 0.9 * np.sin(4 * angle) - x * np.sin(angle)
        angle, x = turned, -0.3 * np.cos(angle)
    return (np.cos(angle) < 0).astype(int)


def henon(points, num_steps=100):
    """Whether a point stays bounded."""
    x, y = points.T
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            x, y = 1 - 1.4 * x * x + y, 0.3 * x
    return (np.abs(x) < 1e3).astype(int)


WINDOWS = {newton: ((-1, 1), (-1, 1)), grebogi: ((0, 2 * np.pi), (-0.5, 0.5)), henon: ((-2, 2), (-2, 2))}
