"""Logarithmic axes that can be read, and labels that do not lie upon each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axis import Axis

FEWEST_TICKS, MOST_TICKS = 3, 9
WITHIN_A_DECADE = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
"""Numbers that a logarithmic axis is labelled at, from the coarsest on."""


def log_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers to label a logarithmic axis with, from three to nine.

    Matplotlib labels whole decades, and an axis of one decade hardly has any.

    Parameters
    ----------
    low, high
        Ends of the axis, positive.

    Returns
    -------
    list of float
        Ascending, within the ends.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = range(first, last + 1)
    stride = math.ceil(len(decades) / MOST_TICKS)
    if stride > 1:
        return [10.0**power for power in decades if power % stride == 0 and low <= 10.0**power <= high]
    for numbers in WITHIN_A_DECADE:
        ticks = [number * 10.0**power for power in decades for number in numbers]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= FEWEST_TICKS:
            return ticks if len(ticks) <= MOST_TICKS else ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
    # Where round numbers of a decade are too far apart, those of a linear axis serve.
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(FEWEST_TICKS + 1).tick_values(low, high) if low <= tick <= high]


def label_log(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis so that it can be read, however short it is.

    Parameters
    ----------
    axis
        `axes.xaxis` or `axes.yaxis`, on a logarithmic scale already.
    low, high
        Its ends.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axis.set_minor_formatter(NullFormatter())


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Push labels apart, so that none lies upon another.

    Parameters
    ----------
    places
        Where they belong, in any order.
    gap
        Least distance.

    Returns
    -------
    list of float
        In the order given, as near to where they belong as the gap allows.
    """
    order = np.argsort(np.asarray(places, float), kind="stable")
    groups: list[tuple[float, int]] = []
    for i in order.tolist():
        middle, size = float(places[i]), 1
        # Labels that would touch become a group around the middle of them all.
        while groups and middle - groups[-1][0] < gap * (size + groups[-1][1]) / 2:
            other, number = groups.pop()
            middle, size = (middle * size + other * number) / (size + number), size + number
        groups.append((middle, size))
    ascending = [middle + gap * (k - (size - 1) / 2) for middle, size in groups for k in range(size)]
    found = [0.0] * len(ascending)
    for i, place in zip(order.tolist(), ascending, strict=True):
        found[i] = place
    return found
