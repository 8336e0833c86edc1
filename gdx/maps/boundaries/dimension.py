"""The dimension of a boundary from counts along both axes, or along a line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gdx.maps.boundaries.power_law import PowerLaw, power_law
from gdx.records import record

Counts = list[tuple[np.ndarray, np.ndarray]]
"""Of every scale: hits, and tries, of every part of the window."""


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


def of_line(counts: Counts, scales: np.ndarray, most: float) -> Dimension:
    """Give the dimension of the boundary on a line.

    Parameters
    ----------
    counts
        Of pairs that differ.
    scales
        Distances, [K], ascending.
    most
        Share of pairs from which a scale is left out.

    Returns
    -------
    Dimension
    """
    law = _law(counts, scales, most)
    return Dimension(1 - law.exponent, law.error, 1, law, law.note)


def of_map(whole: Counts, rows: Counts, columns: Counts, scales: np.ndarray, most: float) -> Dimension:
    """Give the dimension of a boundary that looks alike in all directions, or rougher along one axis.

    A graph of a rough function, say, is crossed along x at a share of distance^a and along y at one of distance^1; the
    sum of the two is a straight line in logarithms only at scales that nobody reaches, and there the smaller exponent
    is that of the sum.

    Parameters
    ----------
    whole, rows, columns
        Over both axes together, and along either.
    scales
        [K], ascending.
    most
        Share of hits from which a scale is left out.

    Returns
    -------
    Dimension
    """
    law, rough, other = (_law(counts, scales, most) for counts in (whole, rows, columns))
    if not (rough.note or other.note):
        rough, other = sorted((rough, other), key=lambda law: law.exponent)
        if other.exponent - rough.exponent > max(rough.error, other.error):
            law = rough
        elif not law.note:
            law = law._replace(error=max(law.error, law.exponent - rough.exponent))
    return Dimension(2 - law.exponent, law.error, 2, law, law.note)


def _law(counts, scales, most):
    hits, tries = (np.stack(part, 1) for part in zip(*counts, strict=True))
    return power_law(hits, tries, scales, most)
