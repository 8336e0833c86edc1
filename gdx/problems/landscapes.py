"""Landscapes of two parameters: small enough to draw, each with one difficulty of its own and its row beneath it.

To add one, write its function and its row here and name it in `__all__`: exports, catalogues, command line and tests
follow. The README's section "Join" has a template.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from gdx.problems.base import Problem
from gdx.problems.surfaces import Landscape, largest_eigenvalue, of_a_start, surface

if TYPE_CHECKING:
    from jax.typing import ArrayLike

__all__ = [
    "beale",
    "booth",
    "double_well",
    "himmelblau",
    "monkey_saddle",
    "plateau",
    "ravine",
    "rippled_bowl",
    "rosenbrock",
    "saddle",
]

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
TEST_FUNCTIONS = "More, Garbow and Hillstrom 1981, doi 10.1145/355934.355936"


@of_a_start
def ravine(start: ArrayLike | None = None) -> Problem:
    """Half of u^2 + 50 v^2, with u and v turned by 30 degrees: every step is for the walls, none for the floor.

    Gradient descent converges below step size 2/50.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.curvature_threshold(optax.sgd) / gdx.problems.ravine().known.min_sharpness
    0.04
    """
    cosine, sine = math.cos(ANGLE), math.sin(ANGLE)

    def loss(x, y):
        return 0.5 * (cosine * x + sine * y) ** 2 + 0.5 * CONDITION * (cosine * y - sine * x) ** 2

    return surface(RAVINE, start, loss, CONDITION)


RAVINE = Landscape(
    "ravine",
    ravine,
    "long quadratic ravine across the axes, condition 50",
    window=(-4.5, 3.0, -3.5, 2.5),
    start=(-3.5, -0.5),
    num_steps=150,
    minima=np.zeros((1, 2)),
    sweep={"repeats": 8},
)


@of_a_start
def rosenbrock(start: ArrayLike | None = None) -> Problem:
    """(1 - x)^2 + 100 (y - x^2)^2, condition 2508 at its minimum (1, 1).

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> problem = gdx.problems.rosenbrock()
    >>> float(problem.loss(jnp.ones(2), (), None)[0]), round(problem.known.min_sharpness, 1)
    (0.0, 1001.6)
    """
    sharpness = largest_eigenvalue(802.0, -400.0, 200.0)
    return surface(ROSENBROCK, start, lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2, sharpness)


ROSENBROCK = Landscape(
    "rosenbrock",
    rosenbrock,
    "Rosenbrock's curved valley: down at once, then along its floor",
    window=(-2.0, 2.0, -1.0, 3.0),
    start=(-1.2, 1.0),
    num_steps=1000,
    minima=np.ones((1, 2)),
    source="Rosenbrock 1960, doi 10.1093/comjnl/3.3.175",
    sweep={"num_steps": 40_000, "num_points": 48, "repeats": 8, "rtol": 1e-3},
)


@of_a_start
def beale(start: ArrayLike | None = None) -> Problem:
    """Sum over i = 1, 2, 3 of (c_i - x (1 - y^i))^2 with c = 1.5, 2.25, 2.625.

    Its only minimum is (3, 1/2). Runs from x below 0 may follow a valley to infinity, where the loss sinks to 0.45.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> float(gdx.problems.beale().loss(jnp.array([3.0, 0.5]), (), None)[0])
    0.0
    """

    def loss(x, y):
        return sum((c - x * (1 - y**power)) ** 2 for power, c in ((1, 1.5), (2, 2.25), (3, 2.625)))

    return surface(BEALE, start, loss, largest_eigenvalue(101 / 32, -183 / 16, 369 / 8))


BEALE = Landscape(
    "beale",
    beale,
    "Beale's function: flat floor between walls of fourth and sixth power",
    window=(-0.5, 4.5, -2.0, 2.0),
    start=(1.0, 1.0),
    num_steps=500,
    minima=np.array([[3.0, 0.5]]),
    source=TEST_FUNCTIONS,
)


@of_a_start
def himmelblau(start: ArrayLike | None = None) -> Problem:
    """(x^2 + y - 11)^2 + (x + y^2 - 7)^2: four minima of value 0 and different curvature.

    The flattest minimum is the one at (-2.805, 3.131).

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> float(gdx.problems.himmelblau().loss(jnp.array([3.0, 2.0]), (), None)[0])
    0.0
    """
    hessians = ((12 * x**2 + 4 * y - 42, 4 * (x + y), 12 * y**2 + 4 * x - 26) for x, y in HIMMELBLAU_MINIMA)
    sharpness = min(largest_eigenvalue(*entries) for entries in hessians)
    return surface(HIMMELBLAU, start, lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, sharpness)


HIMMELBLAU = Landscape(
    "himmelblau",
    himmelblau,
    "Himmelblau's function: four equal minima around a hill",
    window=(-5.5, 5.5, -5.5, 5.5),
    start=(-0.3, -0.6),
    num_steps=100,
    minima=np.array(HIMMELBLAU_MINIMA),
    source="Himmelblau, Applied Nonlinear Programming, 1972",
    sweep={"repeats": 16},
)


@of_a_start
def booth(start: ArrayLike | None = None) -> Problem:
    """(x + 2y - 7)^2 + (2x + y - 5)^2: a quadratic with curvatures 2 and 18 and its minimum at (1, 3).

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> float(gdx.problems.booth().loss(jnp.array([1.0, 3.0]), (), None)[0])
    0.0
    """
    return surface(BOOTH, start, lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2, 18.0)


BOOTH = Landscape(
    "booth",
    booth,
    "Booth's function: a tilted quadratic, condition 9",
    window=(-5.0, 5.0, -2.0, 8.0),
    start=(-3.9, 5.3),
    num_steps=100,
    minima=np.array([[1.0, 3.0]]),
)


@of_a_start
def saddle(start: ArrayLike | None = None) -> Problem:
    """x^2 - y^2, without a lower bound: whoever gets away from the saddle at 0 goes to infinity.

    Without `known`.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> float(gdx.problems.saddle().loss(jnp.array([1.0, 3.0]), (), None)[0])
    -8.0
    """
    return surface(SADDLE, start, lambda x, y: x**2 - y**2)


SADDLE = Landscape(
    "saddle",
    saddle,
    "x^2 - y^2: how soon a method leaves a saddle",
    window=(-2.0, 2.0, -2.0, 2.0),
    start=(-1.5, 0.01),
    num_steps=60,
    saddle=(0.0, 0.0),
)


@of_a_start
def monkey_saddle(start: ArrayLike | None = None) -> Problem:
    """x^3 - 3 x y^2, without a lower bound; at the saddle the Hessian is 0, so that methods slow down before it.

    Without `known`.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> loss = gdx.problems.monkey_saddle().loss
    >>> float(loss(jnp.array([1.0, 0.0]), (), None)[0]), float(loss(jnp.array([-1.0, 0.0]), (), None)[0])
    (1.0, -1.0)
    """
    return surface(MONKEY_SADDLE, start, lambda x, y: x**3 - 3 * x * y**2)


MONKEY_SADDLE = Landscape(
    "monkey-saddle",
    monkey_saddle,
    "x^3 - 3xy^2: a saddle without curvature",
    window=(-1.6, 1.6, -1.6, 1.6),
    start=(1.3, 0.02),
    num_steps=100,
    saddle=(0.0, 0.0),
)


@of_a_start
def double_well(start: ArrayLike | None = None) -> Problem:
    """(x^2 - 1)^2 / 4 + y^2 / 2: minima at (-1, 0) and (1, 0), a saddle between them.

    Examples
    --------
    >>> import gdx
    >>> gdx.problems.double_well().known.min_sharpness
    2.0
    """
    return surface(DOUBLE_WELL, start, lambda x, y: 0.25 * (x**2 - 1) ** 2 + 0.5 * y**2, 2.0)


DOUBLE_WELL = Landscape(
    "double-well",
    double_well,
    "two wells either side of a saddle",
    window=(-2.0, 2.0, -2.0, 2.0),
    start=(0.05, 1.5),
    num_steps=100,
    minima=np.array([[-1.0, 0.0], [1.0, 0.0]]),
    saddle=(0.0, 0.0),
    sweep={"repeats": 16},
)


@of_a_start
def plateau(start: ArrayLike | None = None) -> Problem:
    """A well q / (1 + q) with q = x^2 + 4 y^2: its gradient fades as the cube of the distance from the well at 0.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> loss = gdx.problems.plateau().loss
    >>> [round(float(loss(jnp.array([x, 0.0]), (), None)[0]), 3) for x in (0.0, 1.0, 10.0)]
    [0.0, 0.5, 0.99]
    """

    def loss(x, y):
        squared = x**2 + 4 * y**2
        return squared / (1 + squared)

    return surface(PLATEAU, start, loss, 8.0)


PLATEAU = Landscape(
    "plateau",
    plateau,
    "a well in a plain that is almost flat",
    window=(-4.0, 2.0, -2.5, 2.5),
    start=(-3.45, 1.42),
    num_steps=300,
    minima=np.zeros((1, 2)),
    sweep={"repeats": 16},
)


@of_a_start
def rippled_bowl(start: ArrayLike | None = None) -> Problem:
    """Sum over x and y of z^2 + sin(pi z)^2: a bowl of period-1 ripples, nine minima, the lowest at 0.

    `known.min_sharpness` is that of the four outermost minima, which are flatter than the lowest.

    Examples
    --------
    >>> import gdx
    >>> round(gdx.problems.rippled_bowl().known.min_sharpness, 3)
    18.155
    """

    def loss(x, y):
        # 2 sin^2 is 1 - cos without its cancellation near the minimum.
        return x**2 + y**2 + 2 * RIPPLE * (jnp.sin(jnp.pi * x) ** 2 + jnp.sin(jnp.pi * y) ** 2)

    sharpness = 2 + RIPPLE * (2 * math.pi) ** 2 * math.cos(2 * math.pi * RIPPLE_MINIMUM)
    return surface(RIPPLED_BOWL, start, loss, sharpness)


RIPPLED_BOWL = Landscape(
    "rippled-bowl",
    rippled_bowl,
    "a bowl with nine minima, one of them the lowest",
    window=(-3.0, 3.0, -3.0, 3.0),
    start=(-2.6, 1.7),
    num_steps=100,
    minima=np.zeros((1, 2)),
    sweep={"repeats": 16},
)


def landscape_catalogue() -> dict[str, Landscape]:
    """Give every named landscape of two parameters.

    Returns
    -------
    dict
        Name to `Landscape`, in the order of this file.

    Examples
    --------
    >>> import gdx
    >>> list(gdx.problems.landscape_catalogue())[:3]
    ['ravine', 'rosenbrock', 'beale']
    """
    return {row.name: row for row in globals().values() if isinstance(row, Landscape)}
