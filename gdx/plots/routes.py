"""Paths cut at the border of what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

REACH = 1e6
"""Sides of the window from which a step may come; from further away rounding decides whether it passes through."""


class Route(NamedTuple):
    """The part of a path that lies in a window."""

    points: Float[np.ndarray, "3T 2"]
    """Three rows a step: where its visible part begins, where it ends, and again where it ends, or NaN if that is at
    the border; all NaN for a step that is not seen."""
    exits: Float[np.ndarray, "E 2"]
    """Where it crosses the border outwards."""
    exit_steps: Int[np.ndarray, " E"]
    """Numbers of the steps that do, from 0."""


def route(params: Float[np.ndarray, "T+1 2"], window: Sequence[float]) -> Route:
    """Cut a path at the border of a window.

    Plotting libraries clip too, but not reliably at coordinates of 1e200, and they do not say where.

    Parameters
    ----------
    params
        Points, [T + 1, 2]. A step from or to one that is not finite is not seen, nor one from beyond `REACH`, nor one
        that begins and ends outside.
    window
        Lowest and highest x, lowest and highest y.

    Returns
    -------
    Route
    """
    low, high = np.asarray(window, float)[[0, 2]], np.asarray(window, float)[[1, 3]]
    begin, end = params[:-1], params[1:]
    is_sane = np.isfinite(end) & (np.abs(begin - low) <= REACH * (high - low))
    is_sane = np.all(is_sane, axis=1, keepdims=True)
    begin, end, is_sane = np.where(is_sane, begin, low), np.where(is_sane, end, low), is_sane[:, 0]
    # Halves, so that no difference of finite numbers overflows.
    half_step = end / 2 - begin / 2
    first, last = _visible_part(begin, half_step, low, high)
    # A run that blows up by swinging across the window would bury all others under steps from beyond to beyond.
    is_seen = is_sane & (first <= last) & ((first == 0) | (last == 1))
    is_exit = is_seen & (last < 1)
    first, last = np.where(is_seen, first, 0.0)[:, None], np.where(is_seen, last, 0.0)[:, None]
    entered, ended = begin + first * half_step * 2, np.where(last < 1, begin + last * half_step * 2, end)
    entered, ended = entered.clip(low, high), ended.clip(low, high)
    points = np.stack([entered, ended, np.where(is_exit[:, None], np.nan, ended)], axis=1)
    points[~is_seen] = np.nan
    return Route(points.reshape(-1, 2), ended[is_exit], np.flatnonzero(is_exit))


def marked_rows(points: Float[np.ndarray, "3T 2"], window: Sequence[float], number: int, offset: float) -> np.ndarray:
    """Choose rows of a route at equal lengths along it, so that markers neither crowd nor hide each other.

    Parameters
    ----------
    points
        Of a `Route`.
    window
        Lengths are relative to its sides.
    number
        How many, at most.
    offset
        Where the first one lies, as a share of their distance.

    Returns
    -------
    array
        Row numbers, ascending.
    """
    sides = np.array([window[1] - window[0], window[3] - window[2]])
    ends = np.arange(1, len(points), 3)
    lengths = np.linalg.norm((points[ends] - points[ends - 1]) / sides, axis=1)
    is_seen = np.isfinite(lengths)
    travelled = np.cumsum(np.where(is_seen, lengths, 0.0))[is_seen]
    if not travelled.size or travelled[-1] == 0:
        return np.array([], int)
    wanted = (np.arange(number) + offset) / number * travelled[-1]
    return np.unique(ends[is_seen][np.searchsorted(travelled, wanted).clip(max=travelled.size - 1)])


def _visible_part(begin, half_step, low, high):
    """Between which shares of every step it is inside: from the last entry to the first exit over both coordinates."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossings = np.sort(np.stack([(low - begin) / half_step / 2, (high - begin) / half_step / 2]), axis=0)
    is_still = half_step == 0
    is_between = (low <= begin) & (begin <= high)
    first = np.where(is_still, np.where(is_between, 0.0, np.inf), crossings[0])
    last = np.where(is_still, np.where(is_between, 1.0, -np.inf), crossings[1])
    return first.max(axis=1).clip(min=0.0), last.min(axis=1).clip(max=1.0)
