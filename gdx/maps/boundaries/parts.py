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
    sums, sizes = values, np.ones(1, int)
    for axis, length in enumerate(values.shape):
        starts = np.arange(number) * length // number
        lengths = np.diff(starts, append=length)
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.int64 if values.dtype == bool else float)
        sizes = (sizes[:, None] * lengths).ravel()
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


def differ(labels: np.ndarray, step: int, axis: int) -> np.ndarray:
    """Compare each label with that some steps on.

    Parameters
    ----------
    labels
        [Y, X].
    step
        Points.
    axis
        0 down, 1 along a row.

    Returns
    -------
    array
        As many fewer along the axis.
    """
    return labels[step:] != labels[:-step] if axis == 0 else labels[:, step:] != labels[:, :-step]


def centred(shape: tuple[int, ...], pad: int, size: int, axes: tuple[int, ...]) -> tuple[slice, ...]:
    """Choose the positions at which a box, or a pair, has its middle in the map.

    Parameters
    ----------
    shape
        Of the map.
    pad
        Points that were added around it.
    size
        Of the box, or distance of the pair.
    axes
        Along which it is so large.

    Returns
    -------
    tuple of slice
    """
    shifts = [size // 2 if axis in axes else 0 for axis in (0, 1)]
    return tuple(slice(pad - shift, pad - shift + length) for shift, length in zip(shifts, shape, strict=True))
