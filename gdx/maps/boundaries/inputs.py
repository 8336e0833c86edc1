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


def check_labels(labels: ArrayLike) -> np.ndarray:
    """Return a map of labels.

    Parameters
    ----------
    labels
        Whole numbers or truth values, [Y, X].

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
    if found.ndim != 2 or min(found.shape) < SMALLEST_MAP:
        raise ValueError(
            f"labels: shape {found.shape} is no map [Y, X] of at least {SMALLEST_MAP} points a side; pass more"
        )
    return _whole(found, "labels")


def check_line(labels: ArrayLike, least: int = 2) -> np.ndarray:
    """Return labels along a line.

    Parameters
    ----------
    labels
        Whole numbers or truth values, [n].
    least
        Points.

    Returns
    -------
    array
        [n].

    Raises
    ------
    ValueError
        If they are anything else.
    """
    found = np.asarray(labels)
    if found.ndim != 1 or found.size < least:
        raise ValueError(f"labels: shape {found.shape} is no line [n] of at least {least} points; pass more")
    return _whole(found, "labels")


def check_one(labels: ArrayLike | None, labels_of: Callable[[np.ndarray], ArrayLike] | None) -> None:
    """Refuse both a map and a function, and neither.

    Parameters
    ----------
    labels, labels_of
        The arguments.

    Raises
    ------
    ValueError
        In either case.
    """
    if (labels_of is None) == (labels is None):
        raise ValueError("labels: give either a map [Y, X] or labels_of=, a function of points, and not both")


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


def map_of(labels_of: Callable[[np.ndarray], ArrayLike], window: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Ask a function for the labels on evenly spaced points of a window, its ends among them.

    Parameters
    ----------
    labels_of
        `points [N, 2] -> labels [N]`.
    window
        [2, 2].
    shape
        Points along y and along x.

    Returns
    -------
    array
        [Y, X].
    """
    x, y = np.meshgrid(np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[0]))
    return labels_at(labels_of, window, np.stack([x.ravel(), y.ravel()], 1)).reshape(shape)


def _whole(found, name):
    if found.dtype.kind not in "biu":
        raise ValueError(f"{name}: type {found.dtype} is no whole number; give every outcome a number of its own")
    return found.view(np.uint8) if found.dtype == bool else found
