"""Maps of labels that are known everywhere, drawn at random: what refinement and its audit are held to."""

import numpy as np


def circle(size, rng):
    y, x = grid(size)
    return (np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7)) < rng.uniform(0.1, 0.3)).astype(int)


def waves(size, rng):
    """Three labels, boundaries smooth."""
    y, x = grid(size)
    height = np.zeros((size, size))
    for angle in rng.uniform(0, 2 * np.pi, 4):
        across = x * np.cos(angle) * rng.uniform(0.2, 1.5) + y * np.sin(angle) * rng.uniform(0.2, 1.5)
        height += rng.normal() * np.sin(2 * np.pi * across + rng.uniform(0, 2 * np.pi))
    return np.digitize(height, [-0.5, 0.7])


def islands(size, rng):
    """Smaller than what a coarse grid of 32 x 32 is sure to see."""
    y, x = grid(size)
    labels = np.zeros((size, size), int)
    for _ in range(rng.integers(1, 60)):
        labels[np.hypot(x - rng.uniform(), y - rng.uniform()) < rng.uniform(0.25, 0.6) / 32] = 1
    return labels


def stripes(size, rng):
    y, x = grid(size)
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(1, 20)
    across = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
    return (across > rng.uniform(-0.9, 0.9)).astype(int)


def julia(size, rng):
    y, x = grid(size)
    z, c = (x - 0.5) * 3 + 1j * (y - 0.5) * 3, complex(rng.uniform(-0.8, 0.3), rng.uniform(0.3, 0.7))
    with np.errstate(all="ignore"):
        for _ in range(40):
            z = z * z + c
    return (np.abs(z) < 2).astype(int)


def noise(size, rng):
    return (rng.uniform(size=(size, size)) < 10 ** rng.uniform(-5, -0.3)).astype(int)


def specks(size, rng, share=0.012):
    """Single cells where neither coarse grid nor boundaries lead: the audit alone sees them."""
    labels = (rng.uniform(size=(size, size)) < share).astype(int)
    labels[::4, ::4] = labels[-1] = labels[:, -1] = 0
    return labels


def grid(size):
    return np.mgrid[:size, :size] / size


KINDS = (circle, waves, islands, stripes, julia, noise)
