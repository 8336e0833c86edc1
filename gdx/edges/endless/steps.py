"""What kind of map a step is: affine or not, and after how many steps it does the same again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges.endless.probing import WIDTH, Probe, coarsest_eps
from gdx.edges.endless.traces import Traces
from gdx.stepping import gradient_norm
from gdx.trees import all_finite, is_floating, repeated

if TYPE_CHECKING:
    import chex

MAX_PERIOD = 32
"""Longest period of an optimizer that is looked for, as of gradients that are accumulated."""
PLACES = np.concatenate([sign * np.geomspace(1e-2, 1e4, WIDTH // 2)[: WIDTH // 2 - (sign < 0)] for sign in (1, -1)])
"""Distances along a line, in units of the start's own, at which gradients are compared; WIDTH - 1 of them."""
PLACES_OF_WAY = 1 + np.concatenate([[0.0], *(sign * np.geomspace(1e-3, 0.6, WIDTH // 2 - 1) for sign in (1, -1))])
"""The same on the way from the start to where its run ends, in units of that way: around the end, above all."""


def is_affine(probe: Probe, key: chex.PRNGKey, step_size: float) -> bool:
    """Say whether a whole step is an affine map of parameters and memory, near the start and far from it.

    Parameters
    ----------
    probe
        Of the problem and family.
    key
        One typed key: around whose start.
    step_size
        Any valid one.

    Returns
    -------
    bool
        Along a random line, over six orders of magnitude, and on the way of the start's own run to where that ends:
        what is not seen there is not known.
    """
    start = probe.one_start(step_size, key)
    rng = np.random.default_rng(0)
    size = float(optax.tree.norm(start.params)) or 1.0
    number = sum(leaf.size for leaf in jax.tree.leaves(start.params))
    moving = (start.params, start.opt_state)
    anywhere = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), moving)
    if not _is_affine_along(probe, start, anywhere, size * PLACES / math.sqrt(number)):
        return False
    probe.num_runs += 1
    end = probe.flow(start, probe.num_steps)
    way = jax.tree.map(lambda new, old: new - old if is_floating(old) else 0, (end.params, end.opt_state), moving)
    # A run that comes nowhere tells nothing.
    return not all_finite(way) or _is_affine_along(probe, start, way, PLACES_OF_WAY)


def _is_affine_along(probe, start, direction, sizes):
    """Whether a step moves evenly along a line; sizes [WIDTH - 1] in units of the direction's numbers."""
    sizes = np.concatenate([[0.0], sizes])

    def along(leaf, way):
        if not is_floating(leaf):
            return jnp.broadcast_to(leaf, (WIDTH, *leaf.shape))
        return leaf[None] + jnp.asarray(sizes.reshape(-1, *(1,) * leaf.ndim) * np.asarray(way), leaf.dtype)

    states = repeated(start, WIDTH)
    params, opt_state = jax.tree.map(along, (start.params, start.opt_state), direction)
    new = jax.vmap(probe.advance)(states._replace(params=params, opt_state=opt_state))
    leaves = [leaf for leaf in jax.tree.leaves((new.params, new.opt_state)) if is_floating(leaf)]
    flat = np.concatenate([np.reshape(np.asarray(leaf, float), (WIDTH, -1)) for leaf in leaves], axis=1)
    if not np.all(np.isfinite(flat)):
        return False
    slopes = (flat[1:] - flat[0]) / sizes[1:, None]
    # A small difference of large numbers is known to rounding only, of the numbers at that place and not far away.
    eps = coarsest_eps(start)
    size_there = np.maximum(np.abs(flat[1:]).max(axis=1), np.abs(flat[0]).max())
    rounding = 500 * eps * (size_there / np.abs(sizes[1:]))[:, None]
    largest = np.abs(slopes).max()
    return bool(largest > 0 and np.all(np.abs(slopes - slopes[-1]) <= max(1e-9, 64 * eps) * largest + rounding))


def find_period(probe: Probe, traces: Traces) -> int:
    """Say after how many steps the optimizer does the same again, whatever number of steps came before.

    Parameters
    ----------
    probe
        Of the problem and family.
    traces
        Runs that have ended.

    Returns
    -------
    int
        1 for most; the number of gradients that are accumulated; 0 under a schedule, and under a bias correction
        that has not faded.
    """
    counts = [jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(traces.states.opt_state)]
    candidates = range(1, MAX_PERIOD + 1) if any(counts) else range(1, 2)
    return next((period for period in candidates if _repeats(probe, traces.states, period)), 0)


def _repeats(probe, states, period):
    """Whether the next updates stay the same when the counts are those of many periods later, by two distances."""
    later = probe.flow_many(states, period)

    def aged(times):
        def age(new, old):
            if not jnp.issubdtype(old.dtype, jnp.integer):
                return old
            # A count that comes back by itself, as that of accumulated gradients, is as old as ever.
            return old + (new - old) * (old // jnp.maximum(new - old, 1) + times)

        return states._replace(opt_state=jax.tree.map(age, later.opt_state, states.opt_state))

    def added(states):
        # Over a period, up to the longest: a step that only gathers gradients adds nothing.
        return optax.tree.sub(probe.flow_many(states, MAX_PERIOD).params, states.params)

    as_it_is = added(states)
    size = np.asarray(jax.vmap(gradient_norm)(as_it_is))
    usable = np.isfinite(size) & (size > 0)
    for times in (1, 2):
        change = np.asarray(jax.vmap(gradient_norm)(optax.tree.sub(as_it_is, added(aged(times)))))
        if np.any(change[usable] > 1e-9 * size[usable]):
            return False
    return True
