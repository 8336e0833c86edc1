"""What a landscape is: a loss of two numbers, and how to look at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.problems.base import Known, Problem, problem
from gdx.records import record, sharing

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Float


@record
class Landscape(NamedTuple):
    """A named surface and how to look at it where nobody says otherwise.

    Examples
    --------
    >>> import gdx
    >>> landscape = gdx.problems.landscape_catalogue()["rosenbrock"]
    >>> landscape.window, landscape.minima.tolist()
    ((-2.0, 2.0, -1.0, 3.0), [[1.0, 1.0]])
    """

    name: str
    """In `gdx list landscapes`."""
    make: Callable[..., Problem]
    """`make(start=None)`; the start is a point [2], or else uniform in the window, from the repeat's key."""
    line: str
    """What it is."""
    window: tuple[float, float, float, float]
    """What is shown, and where random starts are drawn from: lowest and highest x, lowest and highest y."""
    start: tuple[float, float]
    """Where paths begin, a point in the window."""
    num_steps: int
    """Steps of a path."""
    minima: Float[np.ndarray, "n 2"] = np.empty((0, 2))
    """Global minima; none where the loss has no lower bound."""
    saddle: tuple[float, float] | None = None
    """The saddle, where the landscape is about one."""
    source: str = ""
    """Paper or textbook."""
    sweep: Mapping[str, Any] | None = None
    """How `gdx transition` looks for its edge, as fields of `ProblemEntry`; None where runs from starts all over the
    window do not converge within a horizon that one can wait for."""


of_a_start = sharing("""
    Parameters
    ----------
    start
        Where every run starts, [2]; by default uniform in the window, from the repeat's key.

    Returns
    -------
    Problem
    """)
"""Of a function that makes a landscape: what its docstring shares with all others."""


def surface(
    landscape: Landscape,
    start: ArrayLike | None,
    loss: Callable[[jax.Array, jax.Array], Any],
    min_sharpness: float | None = None,
) -> Problem:
    """Make the problem of a landscape.

    Parameters
    ----------
    landscape
        Its row.
    start
        Where every run starts, [2]; None for uniform in the window, from the repeat's key.
    loss
        Of x and y, 0 at its lowest.
    min_sharpness
        Largest Hessian eigenvalue at its flattest minimum, in closed form; None where it has no minimum.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If the start is no point.
    """
    dtype = jnp.result_type(float)
    window = np.asarray(landscape.window, dtype)

    def init(key):
        return jax.random.uniform(key, (2,), dtype, window[[0, 2]], window[[1, 3]])

    if start is not None and np.shape(start) != (2,):
        raise ValueError(f"start: shape {np.shape(start)} is not that of a point; pass two numbers")
    known = None
    if min_sharpness is not None:
        known = Known(min_sharpness, 0.0, source=f"Hessian at the flattest minimum of {landscape.name}, in closed form")
    return problem(
        init if start is None else jnp.asarray(start, dtype), lambda params: loss(params[0], params[1]), known=known
    )


def largest_eigenvalue(xx: float, xy: float, yy: float) -> float:
    """Give the largest eigenvalue of a symmetric matrix of two rows.

    Parameters
    ----------
    xx, xy, yy
        Its entries.

    Returns
    -------
    float
    """
    return (xx + yy) / 2 + math.hypot((xx - yy) / 2, xy)
