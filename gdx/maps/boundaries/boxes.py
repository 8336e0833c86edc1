"""Box counting: the share of boxes that see more than one label, against their size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gdx.checks import check_count
from gdx.maps.boundaries.dimension import Dimension, of_map
from gdx.maps.boundaries.inputs import check_labels, check_one, check_window, labels_at
from gdx.maps.boundaries.parts import COARSEST, by_parts, centred, differ, spread_out
from gdx.maps.boundaries.sampling import BATCHES, ENOUGH, descend, folded

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FINEST = 4
"""Cells along a side of the smallest box, and of the lattice that larger ones are looked at on, a power of 2. Were all
labels in a box looked at, small ones would miss more than large ones of what a boundary does between two labels."""
BOXES = 1_024
"""That are asked for at once, a multiple of the batches."""
CROWDED = 0.6
"""Share of boxes on the boundary from which parts of it hide each other."""


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
    1.00 +- 0.09
    """
    check_one(labels, labels_of)
    if labels is None and labels_of is not None:
        max_boxes = check_count("max_boxes", max_boxes, "pass some thousand", BOXES)
        counter = _box_counter(labels_of, check_window(window), max_boxes, np.random.default_rng(seed))
        (whole, rows, columns), sizes = descend(counter, "sizes", sizes)
        return of_map(whole, rows, columns, sizes, CROWDED)
    return _of_labels(check_labels(np.asarray(labels)))


def _of_labels(labels):
    cells = min(labels.shape) - 1
    sizes = FINEST * spread_out(cells // (COARSEST * FINEST))
    pad = sizes[-1]
    wide = np.pad(labels, pad, "symmetric")

    def count(size, axes):
        return by_parts(_mixed(wide, size, axes)[centred(labels.shape, pad, size, axes)])

    whole, rows, columns = ([count(size, axes) for size in sizes] for axes in ((0, 1), (1,), (0,)))
    return of_map(whole, rows, columns, sizes / cells, CROWDED)


def _box_counter(labels_of, window, max_boxes, generator):
    lattice = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, FINEST + 1)] * 2), axis=-1)

    def count(size):
        """Boxes that see more than one label, and boxes, of every batch; then only their middle row, and column."""
        hits, boxes = np.zeros((3, BATCHES)), 0
        while hits[0].sum() < ENOUGH and boxes + BOXES <= max_boxes:
            places = folded(generator.random((BOXES, 1, 1, 2)) + size * lattice)
            found = labels_at(labels_of, window, places.reshape(-1, 2)).reshape(BOXES, FINEST + 1, FINEST + 1)
            seen = found, found[:, FINEST // 2], found[:, :, FINEST // 2]
            mixed = [np.any(each != each[:, :1, ...][..., :1], axis=tuple(range(1, each.ndim))) for each in seen]
            hits += np.reshape(mixed, (3, BATCHES, -1)).sum(axis=2)
            boxes += BOXES
        return [(each, np.full(BATCHES, boxes / BATCHES)) for each in hits]

    return count


def _mixed(labels, size, axes):
    """Whether a box at every position sees more than one label, on a lattice of so many points at every size.

    Along one axis boxes are without width.
    """
    step = size // FINEST
    if len(axes) == 1:
        mixed = differ(labels, step, axes[0])
    else:
        rows, columns = differ(labels, step, 0), differ(labels, step, 1)
        mixed = rows[:, step:] | rows[:, :-step] | columns[step:] | columns[:-step]
    while step < size:
        for axis in axes:
            mixed = mixed[step:] | mixed[:-step] if axis == 0 else mixed[:, step:] | mixed[:, :-step]
        step *= 2
    return mixed
