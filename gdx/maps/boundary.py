"""How rough the boundary between labels is: its box-counting dimension, and its uncertainty exponent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.checks import check_count
from gdx.maps.inputs import check_labels, check_window, labels_at
from gdx.maps.power_law import PowerLaw, power_law
from gdx.records import record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FINEST = 4
"""Cells along a side of the smallest box, and of the lattice that larger ones are looked at on, a power of 2. Were all
labels in a box looked at, small ones would miss more than large ones of what a boundary does between two labels."""
COARSEST = 8
"""Boxes of the largest size along the shorter side of the map, and largest distances."""
PARTS = 8
"""Parts along either side of the window, that are left out in turn."""
BATCHES = 32
"""Of pairs of points, that are left out in turn."""
ROUND = 4_096
"""Pairs that are asked for at once, a multiple of the batches."""
CROWDED = 0.6
"""Share of boxes on the boundary from which parts of it hide each other."""
FULL = 0.5
"""The same of pairs that differ, in shares of what they would be had labels nothing to do with each other."""
ENOUGH, RARE = 1_000, 100
"""Pairs that differ from which a distance needs no more, and below which no smaller distance is tried."""
DISTANCES = 2.0 ** (-np.arange(40, 9, -1) / 2)
"""Of the window's sides, ascending, a factor of sqrt2 apart."""


@record
class Dimension(NamedTuple):
    """A dimension of a boundary, with an interval.

    Examples
    --------
    Continues the example of `gdx.maps.box_dimension`.

    >>> found.lower <= 1 <= found.upper, found.note
    (True, '')
    """

    value: float
    """Dimension; NaN where `note` says why there is none."""
    error: float
    """Half the width of its interval at 95 %."""
    ambient: int
    """Dimension of the space that the boundary lies in: 2 of a map, 1 of a line."""
    law: PowerLaw
    """What was measured: the share of boxes, or of pairs, that the boundary runs through, at every scale."""
    note: str
    """Why there is no number; empty where there is one."""

    @property
    def lower(self) -> float:
        """Lower end of the interval."""
        return self.value - self.error

    @property
    def upper(self) -> float:
        """Upper end of the interval."""
        return self.value + self.error

    @property
    def exponent(self) -> float:
        """Of the share against scale: the uncertainty exponent, `ambient - value`."""
        return self.law.exponent

    @property
    def scales(self) -> tuple[float, float]:
        """Smallest and largest that it holds for, in sides of the window; NaN where there are none."""
        if not self.law.scales.size:
            return math.nan, math.nan
        return float(self.law.scales[0]), float(self.law.scales[-1])


def box_dimension(labels: ArrayLike) -> Dimension:
    """Measure the box-counting dimension of the boundary between labels on a map.

    A box counts where 5 x 5 points, spread over it evenly, do not all have one label. Boxes of every size stand at all
    positions, not side by side: the share of those that count is the area of the boundary grown by the box, and its
    power of the size is 2 less the dimension (Minkowski's). The map is mirrored at its edges. Where segments along rows
    and along columns tell different dimensions, the larger is that of the boundary.

    Parameters
    ----------
    labels
        Whole numbers, [Y, X], at evenly spaced points of a window.

    Returns
    -------
    Dimension
        Sizes run from 4 cells at most to an eighth of the map's shorter side.

    Raises
    ------
    ValueError
        If the labels are no whole numbers on a map of at least 64 x 64.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> y, x = np.mgrid[-1:1:256j, -1:1:256j]
    >>> found = gdx.maps.box_dimension(np.hypot(x, y) < 0.7)
    >>> print(f"{found.value:.2f} +- {found.error:.2f}")
    1.00 +- 0.00
    """
    labels = check_labels(labels)
    cells = min(labels.shape) - 1
    sizes = FINEST * _spread_out(cells // (COARSEST * FINEST))
    pad = sizes[-1]
    wide = np.pad(labels, pad, "symmetric")
    counts = [
        [_by_parts(_mixed(wide, size, axes)[_centred(labels.shape, pad, size, axes)]) for size in sizes]
        for axes in ((0, 1), (1,), (0,))
    ]
    return _dimension(*(_law(each, sizes / cells, CROWDED) for each in counts))


def uncertainty_exponent(
    labels_of: Callable[[np.ndarray], ArrayLike] | None = None,
    window: ArrayLike = ((0.0, 1.0), (0.0, 1.0)),
    *,
    labels: ArrayLike | None = None,
    distances: ArrayLike | None = None,
    max_pairs: int = 2**16,
    seed: int = 0,
) -> Dimension:
    """Measure how the share of points falls whose label differs from that at a distance, as the distance does.

    The share goes as distance^a; the dimension of the boundary is 2 - a (Grebogi, McDonald, Ott and Yorke 1983). Where
    a is small, better knowledge of the point hardly helps: at a = .2 half the uncertainty takes 32 times the precision.

    Parameters
    ----------
    labels_of
        `points [N, 2] -> labels [N]`, x first; asked for pairs at random points, along x and along y, never
        outside the window.
    window
        ((x from, x to), (y from, y to)).
    labels
        A map [Y, X] in place of `labels_of`: all pairs along its rows and columns are compared.
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
        If neither or both of a function and a map are given, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> found = gdx.maps.uncertainty_exponent(lambda points: np.hypot(*points.T) < 0.7)
    >>> print(f"{found.exponent:.1f}")
    1.0
    """
    if (labels_of is None) == (labels is None):
        raise ValueError("labels_of: give either a function of points or labels=, a map [Y, X], and not both")
    if labels is not None:
        return _exponent_of_map(check_labels(labels))
    window = check_window(window)
    max_pairs = check_count("max_pairs", max_pairs, "pass some thousand", ROUND)
    distances = DISTANCES if distances is None else np.sort(np.asarray(distances, float))
    if distances.ndim != 1 or not (distances.size and 0 < distances[0] and distances[-1] < 0.5):
        raise ValueError("distances: they are no list of numbers in (0, 0.5); give them in sides of the window")
    generator = np.random.default_rng(seed)
    counts = []
    for distance in distances[::-1]:
        counts.append(_compare(labels_of, window, distance, max_pairs, generator))
        if sum(hits.sum() for hits, _ in counts[-1]) < RARE:
            break
    distances = distances[len(distances) - len(counts) :]
    most = _fullest(labels_at(labels_of, window, generator.random((ROUND, 2))))
    rows, columns = zip(*counts[::-1], strict=True)
    return _of_both(rows, columns, distances, most)


def _of_both(rows, columns, distances, most):
    both = [(hits + more, tries + others) for (hits, tries), (more, others) in zip(rows, columns, strict=True)]
    return _dimension(*(_law(counts, distances, most) for counts in (both, rows, columns)))


def _law(counts, scales, most):
    hits, tries = (np.stack(part, 1) for part in zip(*counts, strict=True))
    return power_law(hits, tries, scales, most)


def _dimension(whole, rows, columns):
    """Of a boundary that looks alike in all directions, or rougher along one axis.

    A graph of a rough function, say, is crossed along x at a share of distance^a and along y at one of distance^1; the
    sum of the two is a straight line in logarithms only at scales that nobody reaches, and there the smaller exponent
    is that of the sum.
    """
    law = whole
    if not (rows.note or columns.note):
        rough, other = sorted((rows, columns), key=lambda law: law.exponent)
        if other.exponent - rough.exponent > max(rough.error, other.error):
            law = rough
        elif not whole.note:
            law = whole._replace(error=max(whole.error, whole.exponent - rough.exponent))
    return Dimension(2 - law.exponent, law.error, 2, law, law.note)


def _compare(labels_of, window, distance, max_pairs, generator):
    """Pairs that differ, and pairs, of every batch; along x and along y."""
    hits, pairs = np.zeros((2, BATCHES)), 0
    while hits.sum() < ENOUGH and pairs + ROUND <= max_pairs:
        here = generator.random((2, ROUND // 2, 2))
        step = distance * generator.choice([-1, 1], (2, ROUND // 2, 1)) * np.eye(2)[:, None]
        # Away from an edge that the step would cross, at the same distance.
        there = np.where((here + step < 0) | (here + step > 1), here - step, here + step)
        found = labels_at(labels_of, window, np.concatenate([here, there]).reshape(-1, 2)).reshape(2, 2, -1)
        hits += (found[0] != found[1]).reshape(2, BATCHES, -1).sum(axis=2)
        pairs += ROUND
    return [(each, np.full(BATCHES, pairs / 2 / BATCHES)) for each in hits]


def _exponent_of_map(labels):
    cells = min(labels.shape) - 1
    distances = _spread_out(cells // COARSEST)
    pad = distances[-1]
    wide = np.pad(labels, pad, "symmetric")
    columns, rows = (
        [_by_parts(_differ(wide, distance, axis)[_centred(labels.shape, pad, distance, (axis,))]) for distance in distances]
        for axis in (0, 1)
    )
    return _of_both(rows, columns, distances / cells, _fullest(labels))


def _fullest(labels):
    """Share of pairs that may differ."""
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return FULL * (1 - float(np.sum(shares**2)))


def _spread_out(largest):
    """Whole numbers up to one, a factor of about sqrt2 apart."""
    number = int(2 * math.log2(largest)) + 1
    return np.unique(np.round(2 ** (np.arange(number) / 2)).astype(int))


def _mixed(labels, size, axes):
    """Whether a box at every position sees more than one label, on a lattice of so many points at every size.

    Along one axis boxes are without width.
    """
    step = size // FINEST
    if len(axes) == 1:
        mixed = _differ(labels, step, axes[0])
    else:
        rows, columns = _differ(labels, step, 0), _differ(labels, step, 1)
        mixed = rows[:, step:] | rows[:, :-step] | columns[step:] | columns[:-step]
    while step < size:
        for axis in axes:
            mixed = mixed[step:] | mixed[:-step] if axis == 0 else mixed[:, step:] | mixed[:, :-step]
        step *= 2
    return mixed


def _differ(labels, step, axis):
    return labels[step:] != labels[:-step] if axis == 0 else labels[:, step:] != labels[:, :-step]


def _centred(shape, pad, size, axes):
    """Positions at which a box, or a pair, has its middle in the map."""
    shifts = [size // 2 if axis in axes else 0 for axis in (0, 1)]
    return tuple(slice(pad - shift, pad - shift + length) for shift, length in zip(shifts, shape, strict=True))


def _by_parts(inside):
    """How many positions are true, and how many there are, in every part of the window."""
    starts = [np.arange(PARTS) * length // PARTS for length in inside.shape]
    sums = np.add.reduceat(np.add.reduceat(inside, starts[0], axis=0, dtype=np.int64), starts[1], axis=1)
    lengths = [np.diff(np.append(start, length)) for start, length in zip(starts, inside.shape, strict=True)]
    return sums.ravel().astype(float), np.outer(*lengths).ravel().astype(float)
