"""Parts of a map or a line that are counted apart, so that leaving out one after the other tells an error."""

from __future__ import annotations

import math

import numpy as np

PARTS = {1: 32, 2: 8}
"""Along a side, of a line and of a map."""
COARSEST = 8
"""Boxes of the largest size along the shorter side, and largest distances."""


def by_parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up values in every part.

    Parameters
    ----------
    values
        [Y, X] or [X].

    Returns
    -------
    sums, sizes
        [parts] each: of the values, and how many there are.
    """
    number = PARTS[values.ndim]
    sums, sizes = values, np.ones(1)
    for axis, length in enumerate(values.shape):
        starts = np.arange(number) * length // number
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.int64 if values.dtype == bool else float)
        sizes = np.outer(sizes, np.diff(np.append(starts, length))).ravel()
    return sums.ravel().astype(float), sizes.astype(float)


def spread_out(largest: int) -> np.ndarray:
    """Whole numbers from 1 up to one, a factor of about sqrt2 apart.

    Parameters
    ----------
    largest
        At least 1.

    Returns
    -------
    array
        Ascending.
    """
    number = int(2 * math.log2(largest)) + 1
    return np.unique(np.round(2 ** (np.arange(number) / 2)).astype(int))
