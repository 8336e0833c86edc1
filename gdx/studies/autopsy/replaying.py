"""A few steps of a run in many lanes of one program, with one thing changed in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.studies.autopsy.changes import Change, has_schedule, with_counts_of
from gdx.studies.autopsy.job import Job, Place
from gdx.trees import cast_like, wide

if TYPE_CHECKING:
    from jaxtyping import Float

MEMORY = 1 << 30
"""Bytes that the lanes computed at once may take, about."""
COPIES = 6
"""Of parameters and optimizer state that one lane takes, with gradients and updates."""


class Lanes(NamedTuple):
    """What the replays say."""

    losses: Float[np.ndarray, "L N"]
    """Of every batch, at the parameters before its update."""
    ends: Float[np.ndarray, " L P"]
    """Of all probes at the parameters after the last update."""


class _Numbers(NamedTuple):
    """Of a change, as arrays."""

    applied: jax.Array
    factors: jax.Array
    bound: jax.Array
    holds: jax.Array


def replay(job: Job, place: Place, batches: Any, num_steps: int, changes: list[Change]) -> Lanes:
    """Make steps again, a lane for every change.

    Parameters
    ----------
    job
        As checked.
    place
        Where the lanes begin.
    batches
        Pytree of arrays [N, ...].
    num_steps
        N.
    changes
        What is changed, a lane each.

    Returns
    -------
    Lanes
    """
    index, holds, held = job.group_of_leaf(), has_schedule(place.opt_state), job.start.opt_state

    def lane(change, place, batches, probes):
        def step(carry, at):
            batch, is_applied = at
            params, model_state, opt_state = carry
            (loss, new_state), gradient = jax.value_and_grad(job.loss, has_aux=True)(params, model_state, batch)
            norm = optax.tree.norm(wide(gradient))
            # Where nothing is to be clipped the bits stay as they are.
            shrink = jnp.where(norm > change.bound, change.bound / norm, 1.0)
            gradient = jax.tree.map(lambda leaf: leaf * shrink.astype(leaf.dtype), gradient)
            updates, new_opt = job.optimizer.update(
                gradient,
                opt_state,
                params,
                value=loss,
                grad=gradient,
                value_fn=lambda params: job.loss(params, model_state, batch)[0],
            )
            if holds:
                new_opt = _held_if(change.holds, new_opt, held)
            leaves, structure = jax.tree.flatten(updates)
            # Zero times what is not finite is not zero.
            scaled = [
                jnp.where(change.factors[group] == 0, 0, leaf * change.factors[group].astype(leaf.dtype))
                for group, leaf in zip(index, leaves, strict=True)
            ]
            new_params: Any = optax.apply_updates(params, structure.unflatten(scaled))
            moved = Place(new_params, new_state, new_opt)
            moved = jax.tree.map(lambda new, old: jnp.where(is_applied, new, old), cast_like(moved, carry), carry)
            return moved, loss

        begin = place._replace(opt_state=_held_if(change.holds, place.opt_state, held)) if holds else place
        end, losses = jax.lax.scan(step, begin, (batches, change.applied), length=num_steps)
        return losses, jax.lax.map(lambda batch: job.loss(end.params, end.model_state, batch)[0], probes)

    def stacked(name):
        return jnp.asarray(np.stack([getattr(change, name) for change in changes]))

    numbers = _Numbers(
        stacked("applied"),
        stacked("factors").astype(jnp.float32),
        stacked("bound").astype(jnp.float32),
        stacked("holds"),
    )

    @jax.jit
    def run(numbers, *given):
        return jax.lax.map(lambda change: lane(change, *given), numbers, batch_size=_at_once(place, len(changes)))

    found = run(numbers, place, batches, job.probes)
    losses, ends = (np.asarray(one, float) for one in found)
    return Lanes(losses, ends)


def _held_if(holds, opt_state, held):
    return jax.tree.map(lambda one, other: jnp.where(holds, one, other), with_counts_of(opt_state, held), opt_state)


def _at_once(place, number):
    """Lanes computed side by side."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(place) if hasattr(leaf, "itemsize"))
    return int(np.clip(MEMORY // max(COPIES * size, 1), 1, number))
