"""How often a verdict changes between neighbours along a line, the closer they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gdx.maps.boundaries.inputs import check_line

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
