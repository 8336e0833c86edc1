"""A schedule that an optimizer holds, told apart from the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.curvature.inputs import widened
from gdx.stepping import Family, transformation_of

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float, Int

SCHEDULED = "ScaleByScheduleState", "InjectHyperparamsState", "InjectStatefulHyperparamsState", "WrappedScheduleState"
"""Of optax: states that hold a count which a schedule is read at."""
NUM_UPDATES = 3
"""Of random gradients, so that there is a memory when schedules are read."""
AGREE = 1e-3
"""Relative difference up to which updates are one another's multiples."""


def unscheduled(
    family: Family, params: chex.ArrayTree, steps: Int[np.ndarray, " M"]
) -> tuple[Family, Float[np.ndarray, " M"]]:
    """Make a family whose schedules stand still, and say by which factor the real one's updates differ at some steps.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.
    params
        Arrays or their shapes.
    steps
        Counts of updates, ascending.

    Returns
    -------
    family, array
        At the step where updates are the largest, and factors from 0 to 1, [M]; the family itself, and ones, where no
        state of optax holds a schedule.

    Raises
    ------
    ValueError
        If the schedule changes more than the size of updates, or they are all 0.
    """
    transformation = optax.with_extra_args_support(transformation_of(family, 1.0))
    if not _has_schedules(jax.eval_shape(transformation.init, params)):
        return family, np.ones(len(steps))

    @jax.jit
    def read_at(counts):
        keys = jax.random.split(jax.random.key(0), NUM_UPDATES + 1)
        here = _normal(params, keys[0])
        state = transformation.init(here)
        for key in keys[1:-1]:
            state = transformation.update(_normal(params, key), pinned(state, counts[0]), here)[1]
        last = _normal(params, keys[-1])

        def at(count):
            return widened(transformation.update(last, pinned(state, count), here)[0])

        # Two passes, so that no more than two updates are kept at once.
        norms = jax.lax.map(lambda count: optax.tree.norm(at(count)), counts)
        most = jnp.argmax(norms)
        largest = at(counts[most])

        def beside(count):
            update = at(count)
            factor = optax.tree.vdot(update, largest) / norms[most] ** 2
            rest = optax.tree.sub(update, optax.tree.scale(factor, largest))
            return factor, optax.tree.norm(rest, ord="inf") / optax.tree.norm(largest, ord="inf")

        return norms, most, *jax.lax.map(beside, counts)

    norms, most, factors, rests = (np.asarray(one) for one in read_at(jnp.asarray(steps, jnp.int32)))
    if not (np.all(np.isfinite(norms)) and norms[most] > 0):
        raise ValueError("family: its updates are 0, or no numbers, at all steps of its schedule")
    if np.max(rests) > AGREE:
        raise ValueError("family: its schedule changes more than the size of its updates, so no margin is told")

    def still(step_size):
        inner = optax.with_extra_args_support(transformation_of(family, step_size))

        def update_fn(updates, state, params=None, **extra_args):
            updates, state = inner.update(updates, pinned(state, int(steps[most])), params, **extra_args)
            return updates, pinned(state, int(steps[most]))

        def init_fn(params):
            return pinned(inner.init(params), int(steps[most]))

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)

    return still, np.abs(factors)


def pinned(state: optax.OptState, count: chex.Numeric) -> optax.OptState:
    """Set the counts that schedules are read at.

    Parameters
    ----------
    state
        Of a transformation that holds a schedule of optax.
    count
        Updates made.

    Returns
    -------
    state
    """

    def set_in(node):
        if not _is_scheduled(node):
            return node
        fields = {name: pinned(field, count) for name, field in node._asdict().items()}
        return type(node)(**fields | {"count": jnp.asarray(count, jnp.int32)})

    return jax.tree.map(set_in, state, is_leaf=_is_scheduled)


def _is_scheduled(node):
    return type(node).__name__ in SCHEDULED


def _has_schedules(state):
    return any(_is_scheduled(node) for node in jax.tree.leaves(state, is_leaf=_is_scheduled))


def _normal(params, key):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        [jax.random.normal(k, leaf.shape).astype(leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    )
