"""Changes that make another program: batches of another size, and numbers of another width."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gdx.problems.base import Epochs, Problem

if TYPE_CHECKING:
    import chex

NARROW = (jnp.bfloat16, jnp.float16)
AGREE = 1e-3
"""Relative difference up to which the losses of two halves add up to that of the whole batch."""
MOST_BATCHES = 64
"""From which means and standard deviations of features are taken."""
CONSTANT = 1e-6
"""Standard deviation over the largest value up to which a feature never varies, but for rounding."""
UNEVEN = 3.0
"""Ratio of the largest standard deviation to the median, or of a mean to its own or that, from which features count as
unscaled."""


def variants_of(problem: Problem, key: chex.PRNGKey) -> dict[str, Callable[[], Problem]]:
    """List the problems that stand for a change.

    Parameters
    ----------
    problem
        A Problem.
    key
        One typed key, to see a batch.

    Returns
    -------
    dict
        By what was changed, functions that make them, since some have to look at a loss first. Batches of half the size
        raise a ValueError where the losses of two halves are not seen to add up to that of the whole.
    """
    found: dict[str, Callable[[], Problem]] = {}
    if problem.batches is not None:
        found["batches of twice the size"] = functools.partial(_doubled, problem)
        found["batches of half the size"] = functools.partial(_halved, problem, key)
        features = _features(problem, key)
        if features is not None:
            found["features standardised"] = functools.partial(_standardised, problem, *features)
    leaves = jax.tree.leaves(jax.eval_shape(problem.init, key)[0])
    if any(leaf.dtype in NARROW for leaf in leaves):
        found["parameters in float32"] = functools.partial(_widened, problem)
    return found


def _doubled(problem):
    """Every step sees two batches; the state of the model goes from the one to the other."""
    batches = problem.batches
    is_keyed = getattr(batches, "keyed", False)

    def loss(params, state, batch):
        total = 0.0
        for number, one in enumerate(batch[0] if is_keyed else batch):
            seen = (one, jax.random.fold_in(batch[1], number)) if is_keyed else one
            value, state = problem.loss(params, state, seen)
            total = total + value / 2
        return total, state

    return problem._replace(loss=loss, batches=_pairs(batches))


def _pairs(batches):
    """Two batches in a row as one; orders stay drawn ahead, and an odd last batch of an epoch is left out."""
    if not isinstance(batches, Epochs) or batches.num_steps < 2:
        return lambda key, step: (batches(key, 2 * step), batches(key, 2 * step + 1))
    length = batches.num_steps // 2

    def take(order, position):
        first = position // length * batches.num_steps + 2 * (position % length)
        return batches.take(order, first), batches.take(order, first + 1)

    return batches._replace(take=take, num_steps=length)


def _halved(problem, key):
    """The first half of every batch."""
    batches = problem.batches
    params, state = problem.init(key)
    is_keyed = getattr(batches, "keyed", False)
    batch = batches(key, jnp.int32(0))
    examples = batch[0] if is_keyed else batch
    sizes = {leaf.shape[0] if getattr(leaf, "ndim", 0) else 0 for leaf in jax.tree.leaves(examples)}
    if len(sizes) != 1 or min(sizes) < 2 or min(sizes) % 2:
        raise ValueError("batches: their arrays have no one even length to be halved")
    half = min(sizes) // 2

    def part(batch, start):
        examples = jax.tree.map(lambda leaf: leaf[start : start + half], batch[0] if is_keyed else batch)
        return (examples, batch[1]) if is_keyed else examples

    loss_of = jax.jit(lambda batch: problem.loss(params, state, batch)[0])
    whole, first, second = (float(loss_of(one)) for one in (batch, part(batch, 0), part(batch, half)))
    for factor in (1.0, 2.0):
        # A mean over examples, or a sum with weights that add up to 1.
        if np.isclose(whole, factor * (first + second) / 2, rtol=AGREE, atol=0):

            def loss(params, state, batch, factor=factor):
                value, state = problem.loss(params, state, part(batch, 0))
                return factor * value, state

            return problem._replace(loss=loss)
    raise ValueError("batches: the losses of two halves do not add up to that of the whole")


def _features(problem, key):
    """Which leaf of a batch holds features [b, d], their means and standard deviations; None where they are scaled."""
    example = jax.tree.leaves(problem.batches(key, jnp.int32(0)))
    tables = [i for i, leaf in enumerate(example) if _is_table(leaf)]
    # Alone it may as well be targets.
    if not tables or len(example) < 2:
        return None
    counts = jnp.arange(MOST_BATCHES, dtype=jnp.int32)
    draw = jax.jit(lambda count: jax.tree.leaves(problem.batches(key, count))[tables[0]])
    rows = np.concatenate([np.asarray(draw(count), float) for count in counts])
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    varies = deviation > CONSTANT * np.max(np.abs(rows), axis=0)
    if not np.all(np.isfinite(rows)) or not varies.any():
        return None
    # Features that hardly ever vary make no curvature: the largest are held against the median.
    usual = np.sort(deviation[varies])[(np.count_nonzero(varies) - 1) // 2]
    is_uneven = max(np.max(deviation) / usual, np.max(np.abs(mean) / np.maximum(deviation, usual))) > UNEVEN
    return (tables[0], mean, np.where(varies, deviation, np.inf)) if is_uneven else None


def _is_table(leaf):
    return getattr(leaf, "ndim", 0) == 2 and leaf.shape[1] > 1 and jnp.issubdtype(leaf.dtype, jnp.floating)


def _standardised(problem, index, mean, deviation):
    """Every feature with mean 0 and standard deviation 1; those that never vary become 0."""

    def loss(params, state, batch):
        leaves, structure = jax.tree.flatten(batch)
        leaf = leaves[index]
        leaves[index] = ((leaf - mean[None]) / deviation[None]).astype(leaf.dtype)
        return problem.loss(params, state, structure.unflatten(leaves))

    return problem._replace(loss=loss)


def _widened(problem):
    def widen(tree):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype in NARROW else leaf, tree)

    def init(key):
        params, state = problem.init(key)
        return widen(params), state

    return problem._replace(init=init)
