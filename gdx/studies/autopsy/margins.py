"""Curvature's view of a few steps: how far from the edge of stability the unchanged run was."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import first_line
from gdx.curvature import EigenStatus, sharpness
from gdx.responses.preconditioners import make_reader
from gdx.responses.thresholds import step_at
from gdx.studies.autopsy.changes import has_schedule, with_counts_of
from gdx.studies.autopsy.job import Job, Place, batch_at
from gdx.studies.stability.found import Margin
from gdx.trees import wide

NOT_ASKED = "it was not asked for"
"""Why there is no margin where nobody wants one."""
LOOKS = 6
"""Measurements, at most."""
RTOL = 1e-2
"""Of the sharpness; a margin is read to two digits."""
PRODUCTS = 100


def margin_of(job: Job, places: dict[int, Place]) -> Margin:
    """Measure the margin at some places of the unchanged run, of the batch that is trained on there.

    Parameters
    ----------
    job
        As checked.
    places
        Where the run was before the update of its batch, by the batch's index.

    Returns
    -------
    Margin
        Without numbers, and with a note why, where the optimizer has no threshold.
    """
    try:
        return _measured(job, places)
    except (ValueError, TypeError, NotImplementedError) as error:
        nothing = np.zeros(0)
        return Margin(math.nan, nothing.astype(int), nothing, nothing, nothing, {}, first_line(error))


def not_measured(why: str) -> Margin:
    """Give a margin without numbers.

    Parameters
    ----------
    why
        There are none.

    Returns
    -------
    Margin
    """
    nothing = np.zeros(0)
    return Margin(math.nan, nothing.astype(int), nothing, nothing, nothing, {}, why)


def looks(onset: int) -> list[int]:
    """Say where to measure: from the checkpoint to the update that did it.

    Parameters
    ----------
    onset
        Index of its batch.

    Returns
    -------
    list of int
    """
    return sorted({round(one) for one in np.linspace(0, onset, LOOKS)})


def _measured(job, places):
    last = places[max(places)]

    def family(factor):
        # The schedule as it is at the spike, for ever: a margin is about the step size of now.
        held = optax.GradientTransformationExtraArgs(
            lambda params: with_counts_of(job.optimizer.init(params), last.opt_state), _holding(job.optimizer)
        )
        return optax.chain(held, optax.scale(factor))

    reader = make_reader(family, last.params)
    response = reader.response
    has_divisor = response.is_preconditioned or response.scale is not None

    products = min(PRODUCTS, sum(leaf.size for leaf in jax.tree.leaves(last.params)))

    @jax.jit
    def look(place, batch):
        params = place.params
        divisor = None
        if has_divisor:
            divisor = wide(reader.read((place.opt_state, optax.scale(1.0).init(params)), params))

        def loss(moved):
            value = job.loss(moved, place.model_state, batch)[0]
            if response.decay is None:
                return value
            # Weight decay is a curvature of its own, one in units of the divisor.
            like = jax.tree.map(jnp.ones_like, wide(moved)) if divisor is None else divisor
            parts = jax.tree.map(lambda c, p, w: jnp.sum(c * p * w**2), response.decay, like, wide(moved))
            return value + 0.5 * sum(jax.tree.leaves(parts))

        found = sharpness(loss, params, preconditioner=divisor, rtol=RTOL, num_iters=products)
        value = jnp.where(found.status == EigenStatus.CONVERGED, found.value, jnp.nan)
        return job.loss(params, place.model_state, batch)[0], value, found.vector

    steps = sorted(places)
    seen = [look(places[i], batch_at(job.batches, i)) for i in steps]
    losses, values = (np.array([float(one[k]) for one in seen]) for k in (0, 1))
    factors = [1.0 if has_divisor else _schedule_over(job, places[i], last) for i in steps]
    margins = np.array([f * _margin(response, value) for f, value in zip(factors, values, strict=True)])
    weights = [float(np.sum(np.asarray(leaf, float) ** 2)) for leaf in jax.tree.leaves(seen[-1][2])]
    total = sum(weights)
    known = total > 0 and math.isfinite(total)
    shares = {name: sum(weights[i] for i in leaves) / total for name, leaves in job.groups.items()} if known else {}
    note = "" if np.any(np.isfinite(margins)) else "no curvature on the way was a number"
    return Margin(math.nan, np.array(steps), margins, values, losses, shares, note)


def _holding(optimizer) -> Any:
    def update(gradient, state, params=None, **extra_args):
        updates, new = optimizer.update(gradient, state, params, **extra_args)
        return updates, with_counts_of(new, state)

    return update


def _margin(response, value):
    if not math.isfinite(value):
        return math.nan
    return 1 / step_at(response, value) if value > 0 else 0.0


def _schedule_over(job, place, last):
    """By how much larger a place's step size is than that of the last one, where both take it from a schedule."""
    if not has_schedule(last.opt_state):
        return 1.0
    ones = jax.tree.map(jnp.ones_like, last.params)
    norms = []
    for one in (place.opt_state, last.opt_state):
        state = with_counts_of(last.opt_state, one)
        updates = job.optimizer.update(ones, state, last.params, value=jnp.ones(()), grad=ones, value_fn=None)[0]
        norms.append(float(optax.tree.norm(updates)))
    return norms[0] / norms[1]
