"""Counts at random places of a window, at smaller and smaller scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from gdx.maps.boundaries.dimension import Counts

BATCHES = 32
"""Of pairs of points, that are left out in turn."""
ENOUGH, RARE = 1_000, 100
"""Hits from which a scale needs no more, and below which no smaller one is tried."""
SCALES = 2.0 ** (-np.arange(40, 9, -1) / 2)
"""Of the window's sides, ascending, a factor of sqrt2 apart."""


def descend(count: Callable[[float], Counts], name: str, scales: ArrayLike | None) -> tuple[list[Counts], np.ndarray]:
    """Count at smaller and smaller scales as long as anything is hit.

    Parameters
    ----------
    count
        `scale -> [(hits, tries), ...]`, one a kind of count.
    name
        Of the argument that the scales are.
    scales
        In sides of the window; None for the default.

    Returns
    -------
    counts, scales
        Of every kind at every scale, ascending.

    Raises
    ------
    ValueError
        If a scale is no number in (0, 1/2).
    """
    scales = SCALES if scales is None else np.unique(np.asarray(scales, float))
    if scales.ndim != 1 or not (scales.size and scales[0] > 0 and scales[-1] < 0.5):
        raise ValueError(f"{name}: they are no list of numbers in (0, 0.5); give them in sides of the window")
    counts = []
    for scale in scales[::-1]:
        counts.append(count(scale))
        if max(hits.sum() for hits, _ in counts[-1]) < RARE:
            break
    return [list(kind) for kind in zip(*counts[::-1], strict=True)], scales[scales.size - len(counts) :]


def folded(places: np.ndarray) -> np.ndarray:
    """Mirror places at the edges of the unit square, since a function may be known inside its window alone.

    Parameters
    ----------
    places
        In [-1, 2].

    Returns
    -------
    array
        In [0, 1].
    """
    return 1 - np.abs(1 - np.abs(places))
