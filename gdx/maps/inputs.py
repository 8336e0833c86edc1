"""What the statistics of a boundary refuse, in one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gdx.checks import inside

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SMALLEST_MAP = 64
"""Points along a side."""


def check_labels(labels: ArrayLike, name: str = "labels", least: int = SMALLEST_MAP) -> np.ndarray:
    """Return a map of labels, whatever their type, as int32 from 0 on.

    Parameters
    ----------
    labels
        Whole numbers or truth values, [Y, X].
    name
        Of the argument.
    least
        Points along a side.

    Returns
    -------
    array
        [Y, X].

    Raises
    ------
    ValueError
        If they are anything else.
    """
    found = np.asarray(labels)
    if found.ndim != 2 or min(found.shape) < least:
        raise ValueError(f"{name}: shape {found.shape} is no map [Y, X] of at least {least} points a side; pass more")
    return _whole(found, name)


def check_window(window: ArrayLike) -> np.ndarray:
    """Return a window as an array [2, 2].

    Parameters
    ----------
    window
        ((x from, x to), (y from, y to)).

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If it is empty, reversed or not finite.
    """
    try:
        found = np.asarray(window, float)
    except (TypeError, ValueError):
        found = np.zeros(())
    if found.shape != (2, 2) or not (np.all(np.isfinite(found)) and np.all(found[:, 0] < found[:, 1])):
        raise ValueError(f"window: {window!r} is no ((x from, x to), (y from, y to)); give both from low to high")
    return found


def labels_at(labels_of: Callable[[np.ndarray], ArrayLike], window: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Ask a function for the labels at places of the unit square.

    Parameters
    ----------
    labels_of
        `points [N, 2] -> labels [N]`.
    window
        [2, 2].
    places
        [N, 2], each in [0, 1].

    Returns
    -------
    array
        [N].

    Raises
    ------
    ValueError
        If the function raises, or returns anything but a label a point.
    """
    points = window[:, 0] + places * (window[:, 1] - window[:, 0])
    with inside("labels_of"):
        found = np.asarray(labels_of(points))
    if found.shape != (len(points),):
        raise ValueError(f"labels_of: shape {found.shape} for {len(points)} points [N, 2]; return one label each, [N]")
    return _whole(found, "labels_of")


def map_of(labels_of: Callable[[np.ndarray], ArrayLike], window: np.ndarray, resolution: int) -> np.ndarray:
    """Ask a function for the labels on evenly spaced points of a window, its ends among them.

    Parameters
    ----------
    labels_of
        `points [N, 2] -> labels [N]`.
    window
        [2, 2].
    resolution
        Points along either side.

    Returns
    -------
    array
        [Y, X].
    """
    along = np.linspace(0, 1, resolution)
    x, y = np.meshgrid(along, along)
    places = np.stack([x.ravel(), y.ravel()], 1)
    return labels_at(labels_of, window, places).reshape(resolution, resolution)


def _whole(found, name):
    if found.dtype.kind not in "biu":
        raise ValueError(f"{name}: type {found.dtype} is no whole number; give every outcome a number of its own")
    return found.view(np.uint8) if found.dtype == bool else found
