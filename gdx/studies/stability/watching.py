"""Curvature's view of one run, over all of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import first_line
from gdx.margin import edge_margin
from gdx.problems.base import Problem
from gdx.stepping import Family
from gdx.stepping.keys import batch_key
from gdx.studies.stability.found import Margin

if TYPE_CHECKING:
    import chex

LATE = 3
"""The last one of so many parts of a run is late."""
LOOKS = 20
"""Measurements over a run, about; curvature is only followed where it is looked at often."""


def margin_of(
    problem: Problem,
    family: Family,
    step_size: float,
    key: chex.PRNGKey,
    num_steps: int,
    groups: dict[str, list[int]],
) -> Margin:
    """Watch the margin of a run, of the batches that it is trained on.

    Parameters
    ----------
    problem, family
        As in a sweep.
    step_size
        The present one.
    key
        Of the start.
    num_steps
        The horizon.
    groups
        Leaves of every group of parameters, by name.

    Returns
    -------
    Margin
        Without numbers, and with a note why, where the optimizer has no threshold.
    """
    every = max(num_steps // (2 * LOOKS), 1)

    def loss_of(params, held):
        batch, model_state = held
        return problem.loss(params, model_state, batch)[0]

    watched = edge_margin(family, step_size, loss_of, every)

    @jax.jit
    def run(key):
        params, model_state = problem.init(key)
        draws = batch_key(key)

        def step(carry, count):
            params, model_state, state = carry
            batch = None if problem.batches is None else problem.batches(draws, count)

            def own(params):
                return problem.loss(params, model_state, batch)

            (loss, new_state), gradient = jax.value_and_grad(own, has_aux=True)(params)
            updates, state = watched.update(
                gradient,
                state,
                params,
                batch=(batch, model_state),
                value=loss,
                grad=gradient,
                value_fn=lambda params: own(params)[0],
            )
            moved: Any = optax.apply_updates(params, updates), new_state, state
            moved = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), moved, carry)
            return moved, (loss, moved[2].margin, moved[2].sharpness)

        carry: Any = params, model_state, watched.init(params)
        end, seen = jax.lax.scan(step, carry, jnp.arange(num_steps, dtype=jnp.int32))
        return end[2].vector, seen

    try:
        vector, seen = run(key)
    except (ValueError, TypeError, NotImplementedError) as error:
        nothing = np.zeros(0)
        return Margin(step_size, nothing.astype(int), nothing, nothing, nothing, {}, first_line(error))
    losses, margins, sharpness = (np.asarray(one, float) for one in seen)
    steps = np.arange(0, num_steps, every)
    weights = [float(np.sum(np.asarray(leaf, float) ** 2)) for leaf in jax.tree.leaves(vector)]
    total = sum(weights)
    shares = {name: sum(weights[i] for i in leaves) / total for name, leaves in groups.items()} if total > 0 else {}
    note = "" if np.any(np.isfinite(margins)) else "no curvature on the way was a number"
    return Margin(step_size, steps, margins[steps], sharpness[steps], losses[steps], shares, note)


def first(margin: Margin) -> float:
    """Give the first margin that was measured.

    Parameters
    ----------
    margin
        Of a run.

    Returns
    -------
    float
        NaN where none was.
    """
    finite = margin.margins[np.isfinite(margin.margins)]
    return float(finite[0]) if finite.size else math.nan


def late(margin: Margin) -> float:
    """Give the median margin over the last third of the run, since one batch's curvature is no other's.

    Parameters
    ----------
    margin
        Of a run.

    Returns
    -------
    float
        NaN where the run was no longer finite there.
    """
    last = margin.margins[-max(margin.margins.size // LATE, 1) :]
    return float(np.median(last)) if last.size else math.nan
