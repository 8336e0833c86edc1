"""Axes of any problem: how far from zero its runs start, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gdx.problems.base import Problem

INIT_SCALE = "init_scale"
"""Factor on all parameters of a start."""
COORDINATES = ("start_x", "start_y")
"""Parameters of a start, where there are no more than these."""


def starting(problem: Problem, hyperparams: Mapping[str, Any]) -> Problem:
    """Move or scale the start of a problem.

    Parameters
    ----------
    problem
        Whose `init` gives a start.
    hyperparams
        "init_scale", and "start_x" and "start_y", as far as they are there.

    Returns
    -------
    Problem

    Examples
    --------
    >>> import jax, gdx
    >>> moved = gdx.maps.starting(gdx.problems.scalar_factorization(), {"start_x": 2.0, "start_y": 0.5})
    >>> moved.init(jax.random.key(0))[0].tolist()
    [2.0, 0.5]
    """

    def init(key):
        params, state = problem.init(key)
        if INIT_SCALE in hyperparams:
            params = jax.tree.map(lambda leaf: (leaf * hyperparams[INIT_SCALE]).astype(leaf.dtype), params)
        flat, unravel = ravel_pytree(params)
        for at, name in enumerate(COORDINATES):
            if name in hyperparams:
                flat = flat.at[at].set(hyperparams[name])
        return unravel(flat), state

    return problem._replace(init=init)


def start_axes(problem: Problem) -> tuple[str, ...]:
    """Name the axes that the start of a problem has.

    Parameters
    ----------
    problem
        Any.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import gdx
    >>> gdx.maps.start_axes(gdx.problems.scalar_factorization())
    ('init_scale', 'start_x', 'start_y')
    """
    params, _ = jax.eval_shape(problem.init, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    dtypes = {jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params)}
    if dtypes != {True}:
        return ()
    return (INIT_SCALE, *(COORDINATES[:size] if size <= len(COORDINATES) else ()))
