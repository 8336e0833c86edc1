"""The second road: the same steps in a plain loop, one jitted step at a time, with conditions that Python decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.studies.autopsy.changes import Change, with_counts_of
from gdx.studies.autopsy.job import Job, Place, batch_at

if TYPE_CHECKING:
    from jaxtyping import Float


class Plain(NamedTuple):
    """Jitted parts of a plain training loop."""

    step: Callable[..., tuple[jax.Array, Place]]
    """`(place, batch, bound, factors) -> loss, new place`."""
    losses: Callable[..., jax.Array]
    """`(params, model state, batches) -> [N]`."""
    norms: Callable[..., jax.Array]
    """The same of gradients."""


def plain_parts(job: Job) -> Plain:
    """Compile a training step as anybody would write it.

    Parameters
    ----------
    job
        As checked.

    Returns
    -------
    Plain
    """
    index = job.group_of_leaf()

    @jax.jit
    def step(place, batch, bound, factors):
        params, model_state, opt_state = place

        def own(params):
            return job.loss(params, model_state, batch)

        (loss, new_state), gradient = jax.value_and_grad(own, has_aux=True)(params)
        norm = _norm(gradient)
        gradient = jax.lax.cond(
            norm > bound,
            lambda: jax.tree.map(lambda leaf: leaf * (bound / norm).astype(leaf.dtype), gradient),
            lambda: gradient,
        )
        updates, new_opt = job.optimizer.update(
            gradient, opt_state, params, value=loss, grad=gradient, value_fn=lambda params: own(params)[0]
        )
        leaves, structure = jax.tree.flatten(updates)
        leaves = [
            jnp.where(factors[group] > 0, leaf * factors[group].astype(leaf.dtype), jnp.zeros_like(leaf))
            for group, leaf in zip(index, leaves, strict=True)
        ]
        new_params: Any = optax.apply_updates(params, structure.unflatten(leaves))
        moved = Place(new_params, new_state, new_opt)
        return loss, jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), moved, place)

    def loss_at(params, model_state, batch):
        return job.loss(params, model_state, batch)[0]

    def over(function):
        return jax.jit(
            lambda params, state, batches: jax.lax.map(lambda batch: function(params, state, batch), batches)
        )

    gradients = over(lambda params, state, batch: _norm(jax.grad(loss_at)(params, state, batch)))
    return Plain(step, over(loss_at), gradients)


def walk(
    parts: Plain, place: Place, batches: Any, num_steps: int, change: Change, held: optax.OptState
) -> Iterator[tuple[float, Place]]:
    """Make steps one after another.

    Parameters
    ----------
    parts
        Of the job.
    place
        Where to begin.
    batches
        Pytree of arrays [N, ...].
    num_steps
        N.
    change
        What is changed.
    held
        State whose schedules' counts stay, where the change holds them.

    Yields
    ------
    float, Place
        The loss before every update, and where the run is after it.
    """
    bound, factors = jnp.asarray(change.bound, jnp.float32), jnp.asarray(change.factors, jnp.float32)
    for i in range(num_steps):
        if change.holds:
            place = place._replace(opt_state=with_counts_of(place.opt_state, held))
        loss, moved = parts.step(place, batch_at(batches, i), bound, factors)
        if change.applied[i]:
            place = moved
        yield float(loss), place


def losses_at(parts: Plain, place: Place, batches: Any) -> Float[np.ndarray, " N"]:
    """Give the loss of every batch at one place.

    Parameters
    ----------
    parts, place, batches
        As in `walk`.

    Returns
    -------
    array
    """
    return np.asarray(parts.losses(place.params, place.model_state, batches), float)


def norms_at(parts: Plain, place: Place, batches: Any) -> Float[np.ndarray, " N"]:
    """Give the norm of every batch's gradient at one place.

    Parameters
    ----------
    parts, place, batches
        As in `walk`.

    Returns
    -------
    array
    """
    return np.asarray(parts.norms(place.params, place.model_state, batches), float)


def _norm(gradient):
    return optax.tree.norm(jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), gradient))
