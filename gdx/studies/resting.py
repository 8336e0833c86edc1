"""Where runs came to rest: at a minimum, or at a saddle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.curvature import sharpness
from gdx.problems.base import Problem
from gdx.studies.predictions import judged_loss

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float


def curvature_at_rest(problem: Problem, params: chex.ArrayTree, *, rtol: float = 1e-4) -> Float[np.ndarray, "S R"]:
    """Find the smallest Hessian eigenvalue at the place where every run ended.

    A run that has converged at a negative one has come to rest at a saddle. About 0, next to the largest eigenvalue,
    says that the place is flat to second order: a valley of minima, or a saddle such as 0 is of a chain of three
    factors or more, which only the loss tells apart (`runs.last_loss` against the known minimum).

    Parameters
    ----------
    problem
        A Problem without mutable state, and without batches or with a full loss.
    params
        Where runs ended, leaves [S, R, ...]: what `gdx.observers.last_params` puts into `Runs.observed`.
    rtol
        As in `gdx.sharpness`.

    Returns
    -------
    array
        [S, R]; NaN where parameters or second derivatives are not finite.

    Raises
    ------
    ValueError
        If the problem has mutable state, or batches without a full loss.

    Examples
    --------
    >>> run = gdx.sweep(problem, optax.sgd, num_steps=1_000, observers={"end": gdx.observers.last_params})
    >>> runs = run(step_sizes, keys)
    >>> gdx.studies.curvature_at_rest(problem, runs.observed["end"])
    """
    _, state = jax.eval_shape(problem.init, jax.random.key(0))
    if jax.tree.leaves(state):
        raise ValueError("problem: its model has mutable state, which runs do not keep; pass one without")
    if problem.batches is not None and problem.full_loss is None:
        raise ValueError("problem: its loss is that of a batch; give it a full_loss")
    loss = judged_loss(problem, state)

    def smallest(params: Any) -> jax.Array:
        return sharpness(loss, params, which="smallest", rtol=rtol).value

    shape = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: jnp.reshape(jnp.asarray(leaf), (-1, *leaf.shape[2:])), params)
    return np.asarray(jax.jit(lambda flat: jax.lax.map(smallest, flat))(flat)).reshape(shape)
