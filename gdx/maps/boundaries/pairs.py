"""The uncertainty exponent: the share of pairs of points whose labels differ, against their distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gdx.checks import check_count
from gdx.maps.boundaries.dimension import Dimension, of_line, of_map
from gdx.maps.boundaries.inputs import check_labels, check_line, check_one, check_window, labels_at
from gdx.maps.boundaries.parts import COARSEST, by_parts, centred, differ, spread_out
from gdx.maps.boundaries.sampling import BATCHES, ENOUGH, descend, folded

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PAIRS = 4_096
"""That are asked for at once, a multiple of twice the batches."""
FULL = 0.5
"""Share of pairs that differ from which parts of the boundary hide each other, in shares of what it would be had labels
nothing to do with each other."""


def uncertainty_exponent(
    labels: ArrayLike | None = None,
    labels_of: Callable[[np.ndarray], ArrayLike] | None = None,
    window: ArrayLike = ((0.0, 1.0), (0.0, 1.0)),
    *,
    distances: ArrayLike | None = None,
    max_pairs: int = 2**16,
    seed: int = 0,
) -> Dimension:
    """Measure how the share of points falls whose label differs from that at a distance, as the distance does.

    The share goes as distance^a; the dimension of the boundary is 2 - a (Grebogi, McDonald, Ott and Yorke 1983). Where
    a is small, better knowledge of the point hardly helps: at a = .2 half the uncertainty takes 32 times the precision.

    Parameters
    ----------
    labels
        Whole numbers, [Y, X], at evenly spaced points of a window: all pairs along rows and columns are compared.
    labels_of, window
        In place of a map, `points [N, 2] -> labels [N]`, x first, and ((x from, x to), (y from, y to)): asked for pairs
        at random places, along x and along y, never outside the window.
    distances
        In sides of the window, below 1/2; by default from 1/32 down, by factors of sqrt2, to 1e-6, or
        as far as 100 pairs differ.
    max_pairs
        At every distance; fewer are asked for where 1,000 of them differ.
    seed
        Of the points.

    Returns
    -------
    Dimension
        `exponent` is a, `value` is 2 - a.

    Raises
    ------
    ValueError
        If neither or both of a map and a function are given, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> found = gdx.maps.uncertainty_exponent(labels_of=lambda points: np.hypot(*points.T) < 0.7)
    >>> print(f"{found.exponent:.1f}")
    1.0
    """
    check_one(labels, labels_of)
    if labels_of is None:
        return _exponent_of_map(check_labels(np.asarray(labels)))
    window = check_window(window)
    max_pairs = check_count("max_pairs", max_pairs, "pass some thousand", PAIRS)
    generator = np.random.default_rng(seed)
    most = _fullest(labels_at(labels_of, window, generator.random((PAIRS, 2))))
    (rows, columns), distances = descend(_pair_counter(labels_of, window, max_pairs, generator), "distances", distances)
    return _of_both(rows, columns, distances, most)


def line_dimension(labels: ArrayLike) -> Dimension:
    """Measure the dimension of the points on a line at which labels change.

    Two labels differ at a share of distance^a of all places, and the dimension is 1 - a: 0 of single points.

    Parameters
    ----------
    labels
        Whole numbers, [n], at evenly spaced points, at least 64.

    Returns
    -------
    Dimension
        With `ambient` 1; distances run from that of neighbours to an eighth of the line.

    Raises
    ------
    ValueError
        If the labels are no whole numbers, or too few.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> found = gdx.maps.line_dimension(np.sin(np.linspace(0, 40, 4_097)) > 0)
    >>> abs(found.value) <= found.error < 0.1
    True
    """
    labels = check_line(labels, 64)
    distances = spread_out((labels.size - 1) // COARSEST)
    wide = np.pad(labels, distances[-1], "symmetric")
    counts = []
    for distance in distances:
        start = distances[-1] - distance // 2
        counts.append(by_parts((wide[distance:] != wide[:-distance])[start : start + labels.size]))
    return of_line(counts, distances / (labels.size - 1), _fullest(labels))


def _of_both(rows, columns, distances, most):
    both = [(hits + more, tries + others) for (hits, tries), (more, others) in zip(rows, columns, strict=True)]
    return of_map(both, rows, columns, distances, most)


def _pair_counter(labels_of, window, max_pairs, generator):
    def count(distance):
        """Pairs that differ, and pairs, of every batch; along x and along y."""
        hits, pairs = np.zeros((2, BATCHES)), 0
        while hits.sum() < ENOUGH and pairs + PAIRS <= max_pairs:
            here = generator.random((2, PAIRS // 2, 2))
            step = distance * generator.choice([-1, 1], (2, PAIRS // 2, 1)) * np.eye(2)[:, None]
            there = folded(here + step)
            found = labels_at(labels_of, window, np.concatenate([here, there]).reshape(-1, 2)).reshape(2, 2, -1)
            hits += (found[0] != found[1]).reshape(2, BATCHES, -1).sum(axis=2)
            pairs += PAIRS
        return [(each, np.full(BATCHES, pairs / 2 / BATCHES)) for each in hits]

    return count


def _exponent_of_map(labels):
    cells = min(labels.shape) - 1
    distances = spread_out(cells // COARSEST)
    pad = distances[-1]
    wide = np.pad(labels, pad, "symmetric")

    def count(distance, axis):
        return by_parts(differ(wide, distance, axis)[centred(labels.shape, pad, distance, (axis,))])

    columns, rows = ([count(distance, axis) for distance in distances] for axis in (0, 1))
    return _of_both(rows, columns, distances / cells, _fullest(labels))


def _fullest(labels):
    """Share of pairs that may differ."""
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return FULL * (1 - float(np.sum(shares**2)))
