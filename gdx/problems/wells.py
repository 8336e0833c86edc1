"""One-dimensional laboratories: losses whose whole life under gradient descent is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from gdx.problems.base import Known, Problem, problem
from gdx.records import sharing

if TYPE_CHECKING:
    import chex


_of_a_number = sharing("""
    Parameters
    ----------
    start
        Where every run starts, a number, traced or not; by default standard normal from the repeat's key.

    Returns
    -------
    Problem
    """)


@_of_a_number
def quartic(start: chex.Numeric | None = None) -> Problem:
    """The double well (w^2 - 1)^2 / 4, a number w.

    Gradient descent converges up to step size 1, ends in a 2-cycle up to sqrt(5) - 1, doubles its period on
    the way to chaos at 1.30228346, and stays bounded exactly where |w0| < sqrt(1 + 2/step_size), up to 2.
    `known.tail_gradient_norm` holds up to sqrt(5) - 1, for starts that stay bounded.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.curvature_threshold(optax.sgd) / gdx.problems.quartic().known.min_sharpness
    1.0
    """

    def tail_gradient_norm(step_size):
        step_size = jnp.asarray(step_size)
        cycle = jnp.sqrt(jnp.maximum(step_size - 1, 0)) / step_size**1.5
        return jnp.where(step_size <= 1, 0.0, jnp.where(step_size <= jnp.sqrt(5.0) - 1, cycle, jnp.nan))

    known = Known(2.0, 0.0, tail_gradient_norm, "2-cycle of the double well, in closed form")
    return problem(_number(start), lambda w: 0.25 * (w**2 - 1) ** 2, known=known)


@_of_a_number
def hard_partner(start: chex.Numeric | None = None) -> Problem:
    """The single well x^2/2 + x^4/4, a number x, whose edge is hard: beyond it a run escapes at once.

    Gradient descent converges exactly where |x0| < sqrt(2/step_size - 1). The only 2-cycle, at
    +-sqrt(2/step_size - 1), is unstable; it is the boundary of the basin.

    Examples
    --------
    >>> import gdx
    >>> gdx.problems.hard_partner().known.min_sharpness
    1.0
    """

    def tail_gradient_norm(step_size):
        return jnp.where(jnp.asarray(step_size) < 2, 0.0, jnp.inf)

    known = Known(1.0, 0.0, tail_gradient_norm, "unstable 2-cycle of the hard partner, in closed form")
    return problem(_number(start), lambda x: 0.5 * x**2 + 0.25 * x**4, known=known)


def _number(start):
    if start is None:
        return lambda key: jax.random.normal(key, ())
    return jnp.asarray(start, jnp.result_type(float))
