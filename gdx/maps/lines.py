"""The same along a line: how often a verdict changes between neighbours, the closer they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gdx.maps.boundary import Dimension, dimension_of
from gdx.maps.inputs import check_line
from gdx.maps.parts import COARSEST, by_parts, spread_out

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def change_counts(labels: ArrayLike) -> np.ndarray:
    """Count the changes between neighbours on the grids that halve a line again and again.

    Parameters
    ----------
    labels
        Whole numbers at 2^n + 1 evenly spaced points, the line's ends among them.

    Returns
    -------
    array
        [n + 1]: of the line's ends alone, of its halves, ..., of all points.

    Raises
    ------
    ValueError
        If the labels are no whole numbers, or not 2^n + 1.

    Examples
    --------
    >>> import gdx
    >>> gdx.maps.change_counts([0, 0, 1, 0, 0, 0, 1, 1, 1])
    array([1, 1, 3, 3])
    """
    labels = check_line(labels)
    levels = (labels.size - 1).bit_length() - 1
    if labels.size != 2**levels + 1:
        raise ValueError(f"labels: {labels.size} points are not 2^n + 1; halve a line n times, with both of its ends")
    return np.array([np.count_nonzero(np.diff(labels[:: 2 ** (levels - level)])) for level in range(levels + 1)])


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
    return dimension_of(counts, distances / (labels.size - 1), labels)
