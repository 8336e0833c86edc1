"""Landscapes of two parameters: small enough to draw, each with one difficulty of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gdx.problems.base import Known, Problem, problem

if TYPE_CHECKING:
    from jax.typing import ArrayLike

Window = tuple[float, float, float, float]

CONDITION = 50.0
ANGLE = math.pi / 6
"""Of the ravine's floor against the x axis; along an axis a method that scales coordinates would see no ravine."""
RIPPLE = 0.5
RIPPLE_MINIMUM = 0.9025789026446246
"""Where 2x + RIPPLE 2 pi sin(2 pi x) = 0: the outermost local minimum of the rippled bowl along an axis."""
HIMMELBLAU_MINIMA = (
    (3.0, 2.0),
    (-2.805118086952745, 3.131312518250573),
    (-3.779310253377747, -3.2831859912861696),
    (3.5844283403304917, -1.8481265269644036),
)
WINDOWS: dict[str, Window] = {
    "ravine": (-4.5, 3.0, -3.5, 2.5),
    "rosenbrock": (-2.0, 2.0, -1.0, 3.0),
    "beale": (-0.5, 4.5, -2.0, 2.0),
    "himmelblau": (-5.5, 5.5, -5.5, 5.5),
    "booth": (-5.0, 5.0, -2.0, 8.0),
    "saddle": (-2.0, 2.0, -2.0, 2.0),
    "monkey-saddle": (-1.6, 1.6, -1.6, 1.6),
    "double-well": (-2.0, 2.0, -2.0, 2.0),
    "plateau": (-4.0, 2.0, -2.5, 2.5),
    "rippled-bowl": (-3.0, 3.0, -3.0, 3.0),
}
"""What is shown of each: lowest and highest x, lowest and highest y; random starts are drawn from it."""


def ravine(start: ArrayLike | None = None) -> Problem:
    """Half of u^2 + 50 v^2, with u and v turned by 30 degrees: every step is for the walls, none for the floor.

    Parameters
    ----------
    start
        Where every run starts, [2]; by default uniform in the window, from the repeat's key.

    Returns
    -------
    Problem
        Gradient descent converges below step size 2/50.
    """
    cosine, sine = math.cos(ANGLE), math.sin(ANGLE)

    def loss(x, y):
        return 0.5 * (cosine * x + sine * y) ** 2 + 0.5 * CONDITION * (cosine * y - sine * x) ** 2

    return _surface("ravine", start, loss, CONDITION)


def rosenbrock(start: ArrayLike | None = None) -> Problem:
    """(1 - x)^2 + 100 (y - x^2)^2, condition 2508 at its minimum (1, 1).

    Parameters
    ----------
    start
        As in `ravine`.
        threshold of the minimum.

    Returns
    -------
    Problem
    """
    sharpness = _largest_eigenvalue(802.0, -400.0, 200.0)
    return _surface("rosenbrock", start, lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2, sharpness)


def beale(start: ArrayLike | None = None) -> Problem:
    """Sum over i = 1, 2, 3 of (c_i - x (1 - y^i))^2 with c = 1.5, 2.25, 2.625.

    Its only minimum is (3, 1/2). Runs from x below 0 may follow a valley to infinity, where the loss sinks to 0.45.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
    """

    def loss(x, y):
        return sum((c - x * (1 - y**power)) ** 2 for power, c in ((1, 1.5), (2, 2.25), (3, 2.625)))

    return _surface("beale", start, loss, _largest_eigenvalue(101 / 32, -183 / 16, 369 / 8))


def himmelblau(start: ArrayLike | None = None) -> Problem:
    """(x^2 + y - 11)^2 + (x + y^2 - 7)^2: four minima of value 0 and different curvature.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
        The flattest minimum is the one at (-2.805, 3.131).
    """
    hessians = ((12 * x**2 + 4 * y - 42, 4 * (x + y), 12 * y**2 + 4 * x - 26) for x, y in HIMMELBLAU_MINIMA)
    sharpness = min(_largest_eigenvalue(*entries) for entries in hessians)
    return _surface("himmelblau", start, lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, sharpness)


def booth(start: ArrayLike | None = None) -> Problem:
    """(x + 2y - 7)^2 + (2x + y - 5)^2: a quadratic with curvatures 2 and 18 and its minimum at (1, 3).

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
    """
    return _surface("booth", start, lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2, 18.0)


def saddle(start: ArrayLike | None = None) -> Problem:
    """x^2 - y^2, without a lower bound: whoever gets away from the saddle at 0 goes to infinity.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
        Without `known`.
    """
    return _surface("saddle", start, lambda x, y: x**2 - y**2)


def monkey_saddle(start: ArrayLike | None = None) -> Problem:
    """x^3 - 3 x y^2, without a lower bound; at the saddle the Hessian is 0, so that methods slow down before it.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
        Without `known`.
    """
    return _surface("monkey-saddle", start, lambda x, y: x**3 - 3 * x * y**2)


def double_well(start: ArrayLike | None = None) -> Problem:
    """(x^2 - 1)^2 / 4 + y^2 / 2: minima at (-1, 0) and (1, 0), a saddle between them.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
    """
    return _surface("double-well", start, lambda x, y: 0.25 * (x**2 - 1) ** 2 + 0.5 * y**2, 2.0)


def plateau(start: ArrayLike | None = None) -> Problem:
    """A well q / (1 + q) with q = x^2 + 4 y^2: its gradient fades as the cube of the distance from the well at 0.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
    """

    def loss(x, y):
        squared = x**2 + 4 * y**2
        return squared / (1 + squared)

    return _surface("plateau", start, loss, 8.0)


def rippled_bowl(start: ArrayLike | None = None) -> Problem:
    """Sum over x and y of z^2 + sin(pi z)^2: a bowl of period-1 ripples, nine minima, the lowest at 0.

    Parameters
    ----------
    start
        As in `ravine`.

    Returns
    -------
    Problem
        `known.min_sharpness` is that of the four outermost minima, which are flatter than the lowest.
    """

    def loss(x, y):
        # 2 sin^2 is 1 - cos without its cancellation near the minimum.
        return x**2 + y**2 + 2 * RIPPLE * (jnp.sin(jnp.pi * x) ** 2 + jnp.sin(jnp.pi * y) ** 2)

    sharpness = 2 + RIPPLE * (2 * math.pi) ** 2 * math.cos(2 * math.pi * RIPPLE_MINIMUM)
    return _surface("rippled-bowl", start, loss, sharpness)


def _surface(name, start, loss, min_sharpness=None):
    dtype = jnp.result_type(float)
    window = np.asarray(WINDOWS[name], dtype)

    def init(key):
        return jax.random.uniform(key, (2,), dtype, window[[0, 2]], window[[1, 3]])

    if start is not None and np.shape(start) != (2,):
        raise ValueError(f"start: shape {np.shape(start)} is not that of a point; pass two numbers")
    known = None
    if min_sharpness is not None:
        known = Known(min_sharpness, 0.0, source=f"Hessian at the flattest minimum of {name}, in closed form")
    return problem(
        init if start is None else jnp.asarray(start, dtype), lambda params: loss(params[0], params[1]), known=known
    )


def _largest_eigenvalue(xx, xy, yy):
    """Of a symmetric matrix of two rows."""
    return (xx + yy) / 2 + math.hypot((xx - yy) / 2, xy)
