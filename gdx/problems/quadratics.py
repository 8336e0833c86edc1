"""Quadratic bowls: the one landscape on which every linear method's edge is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.problems.base import Known, Problem, problem

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def quadratic(eigenvalues: ArrayLike, start: ArrayLike | None = None) -> Problem:
    """Half the sum of `eigenvalues * params**2`.

    Parameters
    ----------
    eigenvalues
        Curvatures along the axes, [D]. A rotation would change no verdict and no gradient norm, so there is none.
    start
        Where every run starts, [D]; by default standard normal, drawn from the repeat's key.

    Returns
    -------
    Problem
        With `known`, where the eigenvalues are concrete and not negative: gradient descent's tail gradient
        norm is 0 below `2 / max(eigenvalues)` and infinite above.

    Raises
    ------
    ValueError
        If the eigenvalues are not a vector of finite numbers.

    Examples
    --------
    >>> import gdx
    >>> problem = gdx.problems.quadratic([1.0, 3.0, 10.0])
    >>> problem.known.min_sharpness
    10.0
    """
    if np.ndim(eigenvalues) != 1 or np.size(eigenvalues) == 0:
        raise ValueError(
            f"eigenvalues: shape {np.shape(eigenvalues)} is not a vector of at least one curvature; pass [D]"
        )
    curvatures = jnp.asarray(eigenvalues, dtype=jnp.result_type(float))
    known = None
    if not isinstance(curvatures, Tracer):
        values = np.asarray(curvatures)
        if not np.all(np.isfinite(values)):
            raise ValueError(f"eigenvalues: {values.tolist()} are not all finite; pass finite curvatures")
        if np.all(values >= 0) and np.any(values > 0):
            known = _known(float(values.max()))

    def init(key):
        return jax.random.normal(key, curvatures.shape, curvatures.dtype)

    def loss(params):
        return 0.5 * jnp.sum(curvatures * params**2)

    return problem(init if start is None else jnp.asarray(start, curvatures.dtype), loss, known=known)


def _known(sharpness):
    def tail_gradient_norm(step_size):
        return jnp.where(jnp.asarray(step_size) * sharpness < 2, 0.0, jnp.inf)

    return Known(sharpness, 0.0, tail_gradient_norm, "linear stability of a quadratic, 2/lam")
