"""Maps whose boundary is known to be smooth, run like any other: what a claim of a fractal is held against."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.records import record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TOLERANCE, BLOWN_UP = 1e-6, 1e8
"""Gradient norms, of the first, at or below which a run has come to rest, and beyond which it never will. That it came
to rest in time is no label: where a run goes round its minimum slowly, the horizon cuts it at another angle a cell on,
and the boundary is a comb."""
TARGET, STEP_SIZE = 1.0, 0.4
"""Of the factorization, so that its ellipse is about as high as wide and crosses no corner."""


@record
class Control(NamedTuple):
    """A function of points, and the window that it is looked at in.

    Examples
    --------
    >>> import gdx
    >>> control = gdx.maps.quadratic_control(200)
    >>> control.labels_of([[1.9, 0.0], [2.1, 0.0]]).tolist()
    [1, 0]
    """

    labels_of: Callable[[ArrayLike], np.ndarray]
    """`points [N, 2] -> labels [N]`."""
    window: tuple[tuple[float, float], tuple[float, float]]
    """((x from, x to), (y from, y to))."""


def quadratic_control(num_steps: int) -> Control:
    """Heavy ball on x^2/2 from 1, step size against momentum b: bounded up to 2 (1 + b).

    Parameters
    ----------
    num_steps
        The horizon. A finite one moves the edge a little, all along; below some 50 far enough to be seen.

    Returns
    -------
    Control
        0 where the gradient grew to 1e8 times the first within the horizon, 1 elsewhere.

    Examples
    --------
    >>> import gdx
    >>> gdx.maps.quadratic_control(500).labels_of([[2.9, 0.5], [3.1, 0.5]]).tolist()
    [1, 0]
    """

    def step(x, before, point):
        step_size, momentum = point
        return x - step_size * x + momentum * (x - before), x

    def labels_of(points):
        points = np.asarray(points, float)
        start = np.ones(len(points))
        return _run(step, (start, start), points, lambda x, before, point: np.abs(x), num_steps)

    return Control(labels_of, ((0.53, 4.71), (0.013, 0.787)))


def ellipse_control(num_steps: int) -> Control:
    """Gradient descent at step size .4 on (u v - 1)^2 / 2 from the point (u, v): bounded in an ellipse.

    u^2 + v^2 - .4 u v < 9.6 (Liang and Montufar, arXiv 2509.25351).

    Parameters
    ----------
    num_steps
        The horizon.

    Returns
    -------
    Control
        0 where the gradient grew to 1e8 times the first within the horizon, 1 elsewhere.

    Examples
    --------
    >>> import gdx
    >>> gdx.maps.ellipse_control(500).labels_of([[3.0, 0.1], [3.2, 0.1]]).tolist()
    [1, 0]
    """

    def gradient(u, v, point):
        error = u * v - TARGET
        return error * v, error * u

    def step(u, v, point):
        along_u, along_v = gradient(u, v, point)
        return u - STEP_SIZE * along_u, v - STEP_SIZE * along_v

    def labels_of(points):
        points = np.asarray(points, float)
        return _run(step, tuple(points.T), points, lambda *state: np.hypot(*gradient(*state)), num_steps)

    return Control(labels_of, ((-4.13, 4.27), (-4.21, 4.09)))


@functools.lru_cache(maxsize=8)
def default_controls(num_steps: int) -> dict[str, Control]:
    """Both, by name.

    Parameters
    ----------
    num_steps
        The horizon.

    Returns
    -------
    dict

    Examples
    --------
    >>> import gdx
    >>> sorted(gdx.maps.default_controls(500))
    ['ellipse', 'quadratic']
    """
    return {"quadratic": quadratic_control(num_steps), "ellipse": ellipse_control(num_steps)}


def _run(step, state, points, norm_of, num_steps):
    """Runs that have ended, either way, are no longer computed."""
    labels = np.ones(len(points), np.int8)
    alive, point = np.arange(len(points)), points.T
    first = norm_of(*state, point)
    for _ in range(num_steps):
        state = step(*state, point)
        norm = norm_of(*state, point)
        labels[alive[norm >= BLOWN_UP * first]] = 0
        goes_on = (norm > TOLERANCE * first) & (norm < BLOWN_UP * first)
        if not goes_on.all():
            alive, first, point = alive[goes_on], first[goes_on], point[:, goes_on]
            state = tuple(part[goes_on] for part in state)
    return labels
