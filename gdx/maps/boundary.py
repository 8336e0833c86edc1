"""How rough the boundary between labels is: its box-counting dimension, and its uncertainty exponent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.checks import check_count
from gdx.maps.inputs import check_labels, check_window, labels_at
from gdx.maps.parts import COARSEST, by_parts, spread_out
from gdx.maps.power_law import PowerLaw, power_law
from gdx.records import record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FINEST = 4
"""Cells along a side of the smallest box, and of the lattice that larger ones are looked at on, a power of 2. Were all
labels in a box looked at, small ones would miss more than large ones of what a boundary does between two labels."""
BATCHES = 32
"""Of pairs of points, that are left out in turn."""
ROUND, BOXES = 4_096, 1_024
"""Pairs, and boxes, that are asked for at once, multiples of the batches."""
CROWDED = 0.6
"""Share of boxes on the boundary from which parts of it hide each other."""
FULL = 0.5
"""The same of pairs that differ, in shares of what they would be had labels nothing to do with each other."""
ENOUGH, RARE = 1_000, 100
"""Hits from which a scale needs no more, and below which no smaller one is tried."""
SCALES = 2.0 ** (-np.arange(40, 9, -1) / 2)
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


def box_dimension(
    labels: ArrayLike | None = None,
    labels_of: Callable[[np.ndarray], ArrayLike] | None = None,
    window: ArrayLike = ((0.0, 1.0), (0.0, 1.0)),
    *,
    sizes: ArrayLike | None = None,
    max_boxes: int = 2**14,
    seed: int = 0,
) -> Dimension:
    """Measure the box-counting dimension of the boundary between labels.

    A box counts where 5 x 5 points, spread over it evenly, do not all have one label. Boxes of every size stand at all
    positions, not side by side: the share of those that count is the area of the boundary grown by the box, and its
    power of the size is 2 less the dimension (Minkowski's). The map is mirrored at its edges. Where segments along rows
    and along columns tell different dimensions, the larger is that of the boundary.

    Parameters
    ----------
    labels
        Whole numbers, [Y, X], at evenly spaced points of a window. Boxes run from 4 cells to an eighth of the map's
        shorter side.
    labels_of, window
        In place of a map, `points [N, 2] -> labels [N]`, x first, and ((x from, x to), (y from, y to)): boxes stand at
        random places, and may be far smaller than the cells of any map, where the boundary fills the window.
    sizes
        Of those boxes in sides of the window, below 1/2; by default from 1/32 down, by factors of sqrt2, to 1e-6, or as
        far as 100 boxes are on the boundary.
    max_boxes
        Of a size; fewer are asked for where 1,000 of them are on the boundary.
    seed
        Of their places.

    Returns
    -------
    Dimension

    Raises
    ------
    ValueError
        If neither or both of a map and a function are given, the map is smaller than 64 x 64, or an argument is out of
        range.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> y, x = np.mgrid[-1:1:256j, -1:1:256j]
    >>> found = gdx.maps.box_dimension(np.hypot(x, y) < 0.7)
    >>> print(f"{found.value:.2f} +- {found.error:.2f}")
    1.00 +- 0.00
    """
    _check_one(labels, labels_of)
    if labels_of is not None:
        max_boxes = check_count("max_boxes", max_boxes, "pass some thousand", BOXES)
        count = _box_counter(labels_of, check_window(window), max_boxes, np.random.default_rng(seed))
        (*counts,), sizes = _descend(count, "sizes", sizes)
        return _dimension(*(_law(each, sizes, CROWDED) for each in counts))
    labels = check_labels(labels)
    cells = min(labels.shape) - 1
    sizes = FINEST * spread_out(cells // (COARSEST * FINEST))
    pad = sizes[-1]
    wide = np.pad(labels, pad, "symmetric")
    counts = [
        [by_parts(_mixed(wide, size, axes)[_centred(labels.shape, pad, size, axes)]) for size in sizes]
        for axes in ((0, 1), (1,), (0,))
    ]
    return _dimension(*(_law(each, sizes / cells, CROWDED) for each in counts))


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
    _check_one(labels, labels_of)
    if labels_of is None:
        return _exponent_of_map(check_labels(labels))
    window = check_window(window)
    max_pairs = check_count("max_pairs", max_pairs, "pass some thousand", ROUND)
    generator = np.random.default_rng(seed)
    most = _fullest(labels_at(labels_of, window, generator.random((ROUND, 2))))
    (rows, columns), distances = _descend(
        _pair_counter(labels_of, window, max_pairs, generator), "distances", distances
    )
    return _of_both(rows, columns, distances, most)


def _check_one(labels, labels_of):
    if (labels_of is None) == (labels is None):
        raise ValueError("labels: give either a map [Y, X] or labels_of=, a function of points, and not both")


def _descend(count, name, scales):
    """Count at smaller and smaller scales as long as anything is hit; a list a kind of count, and the scales."""
    scales = SCALES if scales is None else np.unique(np.asarray(scales, float))
    if scales.ndim != 1 or not (scales.size and 0 < scales[0] and scales[-1] < 0.5):
        raise ValueError(f"{name}: they are no list of numbers in (0, 0.5); give them in sides of the window")
    counts = []
    for scale in scales[::-1]:
        counts.append(count(scale))
        if max(hits.sum() for hits, _ in counts[-1]) < RARE:
            break
    return list(zip(*counts[::-1], strict=True)), scales[scales.size - len(counts) :]


def _of_both(rows, columns, distances, most):
    both = [(hits + more, tries + others) for (hits, tries), (more, others) in zip(rows, columns, strict=True)]
    return _dimension(*(_law(counts, distances, most) for counts in (both, rows, columns)))


def dimension_of(counts: list, scales: np.ndarray, labels: np.ndarray) -> Dimension:
    """Give the dimension of the boundary on a line.

    Parameters
    ----------
    counts
        Of pairs that differ, and of pairs, in every part, a pair of arrays a distance.
    scales
        Distances, [K].
    labels
        On the line, [n].

    Returns
    -------
    Dimension
    """
    law = _law(counts, scales, _fullest(labels))
    return Dimension(1 - law.exponent, law.error, 1, law, law.note)


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


def _pair_counter(labels_of, window, max_pairs, generator):
    def count(distance):
        """Pairs that differ, and pairs, of every batch; along x and along y."""
        hits, pairs = np.zeros((2, BATCHES)), 0
        while hits.sum() < ENOUGH and pairs + ROUND <= max_pairs:
            here = generator.random((2, ROUND // 2, 2))
            step = distance * generator.choice([-1, 1], (2, ROUND // 2, 1)) * np.eye(2)[:, None]
            there = _folded(here + step)
            found = labels_at(labels_of, window, np.concatenate([here, there]).reshape(-1, 2)).reshape(2, 2, -1)
            hits += (found[0] != found[1]).reshape(2, BATCHES, -1).sum(axis=2)
            pairs += ROUND
        return [(each, np.full(BATCHES, pairs / 2 / BATCHES)) for each in hits]

    return count


def _box_counter(labels_of, window, max_boxes, generator):
    lattice = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, FINEST + 1)] * 2), axis=-1)

    def count(size):
        """Boxes that see more than one label, and boxes, of every batch; then only their middle row, and column."""
        hits, boxes = np.zeros((3, BATCHES)), 0
        while hits[0].sum() < ENOUGH and boxes + BOXES <= max_boxes:
            places = _folded(generator.random((BOXES, 1, 1, 2)) + size * lattice)
            found = labels_at(labels_of, window, places.reshape(-1, 2)).reshape(BOXES, FINEST + 1, FINEST + 1)
            seen = found, found[:, FINEST // 2], found[:, :, FINEST // 2]
            mixed = [np.any(each != each[:, :1, ...][..., :1], axis=tuple(range(1, each.ndim))) for each in seen]
            hits += np.reshape(mixed, (3, BATCHES, -1)).sum(axis=2)
            boxes += BOXES
        return [(each, np.full(BATCHES, boxes / BATCHES)) for each in hits]

    return count


def _folded(places):
    """Mirrored at the edges of the unit square, since a function may be known inside its window alone."""
    return 1 - np.abs(1 - np.abs(places))


def _exponent_of_map(labels):
    cells = min(labels.shape) - 1
    distances = spread_out(cells // COARSEST)
    pad = distances[-1]
    wide = np.pad(labels, pad, "symmetric")
    columns, rows = (
        [
            by_parts(_differ(wide, distance, axis)[_centred(labels.shape, pad, distance, (axis,))])
            for distance in distances
        ]
        for axis in (0, 1)
    )
    return _of_both(rows, columns, distances / cells, _fullest(labels))


def _fullest(labels):
    """Share of pairs that may differ."""
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return FULL * (1 - float(np.sum(shares**2)))


def _fullest(labels):
    """Share of pairs that may differ."""
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return FULL * (1 - float(np.sum(shares**2)))


def spread_out(largest):
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
