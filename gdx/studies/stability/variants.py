"""Changes that make another program: batches of another size, and numbers of another width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gdx.problems.base import Problem

if TYPE_CHECKING:
    import chex

NARROW = (jnp.bfloat16, jnp.float16)
AGREE = 1e-3
"""Relative difference up to which the losses of two halves add up to that of the whole batch."""


def variants_of(problem: Problem, key: chex.PRNGKey) -> dict[str, Problem]:
    """Make the problems that stand for a change.

    Parameters
    ----------
    problem
        A Problem.
    key
        One typed key, to see a batch.

    Returns
    -------
    dict
        By what was changed. Batches of half the size are there only where the losses of two halves are seen to add up
        to that of the whole.
    """
    found = {}
    if problem.batches is not None:
        found["batches of twice the size"] = _doubled(problem)
        halved = _halved(problem, key)
        if halved is not None:
            found["batches of half the size"] = halved
    leaves = jax.tree.leaves(jax.eval_shape(problem.init, key)[0])
    if any(leaf.dtype in NARROW for leaf in leaves):
        found["parameters in float32"] = _widened(problem)
    return found


def _doubled(problem):
    """Every step sees two batches; the state of the model goes from the one to the other."""
    batches = problem.batches
    assert batches is not None

    def pairs(key, step):
        return batches(key, 2 * step), batches(key, 2 * step + 1)

    def loss(params, state, batch):
        first, state = problem.loss(params, state, batch[0])
        second, state = problem.loss(params, state, batch[1])
        return (first + second) / 2, state

    return problem._replace(loss=loss, batches=pairs)


def _halved(problem, key):
    """The first half of every batch; None where halves do not add up to the whole."""
    batches = problem.batches
    params, state = problem.init(key)
    batch = batches(key, jnp.int32(0))
    leaves = jax.tree.leaves(batch)
    sizes = {leaf.shape[0] if getattr(leaf, "ndim", 0) else 0 for leaf in leaves}
    if len(sizes) != 1 or min(sizes) < 2 or min(sizes) % 2:
        return None
    half = min(sizes) // 2

    def part(batch, start):
        return jax.tree.map(lambda leaf: leaf[start : start + half], batch)

    whole, first, second = (
        float(problem.loss(params, state, one)[0]) for one in (batch, part(batch, 0), part(batch, half))
    )
    together = first + second
    for factor in (1.0, 2.0):
        # A mean over examples, or a sum with weights that add up to 1.
        if np.isclose(whole, factor * together / 2, rtol=AGREE, atol=0):

            def loss(params, state, batch, factor=factor):
                value, state = problem.loss(params, state, part(batch, 0))
                return factor * value, state

            return problem._replace(loss=loss)
    return None


def _widened(problem):
    def widen(tree):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype in NARROW else leaf, tree)

    def init(key):
        params, state = problem.init(key)
        return widen(params), state

    return problem._replace(init=init)
