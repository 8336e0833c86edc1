"""One training step of one run, as a pure (init, update) pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.problems.base import Epochs, Problem
from gdx.stepping.ordering import batch_of, draw_orders, reaches
from gdx.stepping.resolving import Family, resolve_problem, transformation_of
from gdx.stepping.state import TrainState, View

if TYPE_CHECKING:
    import chex


class TrainStep(NamedTuple):
    """A pure pair, and what may be taken out of it."""

    init: Callable[[Any, chex.PRNGKey], TrainState]
    """`init(hyperparams, key) -> state`."""
    update: Callable[[TrainState], tuple[TrainState, View]]
    """`update(state) -> (state, view)`."""
    renew: Callable[[TrainState], TrainState]
    """`renew(state) -> state`: draws the orders of the epochs ahead, where the problem has any."""
    is_due: Callable[[TrainState], jax.Array]
    """`is_due(state) -> bool`: whether the orders drawn so far end before the next block does."""


def train_step(problem: Problem | Callable[[Any], Problem], family: Family, *, block: int | None = None) -> TrainStep:
    """Make the step that the sweep engine scans, for use in a loop of your own.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`, called inside the trace.
    family
        `hyperparams -> optax transformation`, called inside the trace, so that every number may be a tracer.
    block
        Steps for which `renew` draws orders ahead, for a loop that calls it before every block of so many; `update`
        then draws none. By default `update` draws them itself where an epoch begins, which under vmap costs as much
        as drawing them at every step.

    Returns
    -------
    TrainStep
        `init(hyperparams, key)` and `update(state)`; both can be jitted, vmapped and scanned. Parameters and
        optimizer state keep their dtypes: a traced momentum or step size would otherwise promote float32 and
        bfloat16 leaves, and a scan would fail.

    Raises
    ------
    ValueError
        On the first call, if the family does not return an optax transformation.

    Examples
    --------
    >>> step = gdx.train_step(gdx.problems.quartic(), optax.sgd)
    >>> state = step.init(0.1, jax.random.key(0))
    >>> state, view = jax.lax.scan(lambda s, _: step.update(s), state, length=100)
    """

    def init(hyperparams, key):
        here = resolve_problem(problem, hyperparams)
        params, model_state = _strong(here.init(key))
        opt_state = _strong(transformation_of(family, hyperparams).init(params))
        batch_key = None if here.batches is None else jax.random.fold_in(key, 0)
        state = TrainState(hyperparams, batch_key, params, model_state, opt_state, jnp.zeros((), jnp.int32))
        return renew(state)

    def renew(state):
        here = resolve_problem(problem, state.hyperparams)
        if not isinstance(here.batches, Epochs):
            return state
        return state._replace(orders=draw_orders(here.batches, state.key, state.step, block or 1))

    def is_due(state):
        here = resolve_problem(problem, state.hyperparams)
        if not isinstance(here.batches, Epochs):
            return jnp.zeros((), bool)
        return ~reaches(here.batches, state.orders, state.step, block or 1)

    def update(state):
        here = resolve_problem(problem, state.hyperparams)
        transformation = transformation_of(family, state.hyperparams)
        if block is None and isinstance(here.batches, Epochs):
            state = jax.lax.cond(is_due(state), renew, lambda state: state, state)
        batch = batch_of(here, state)

        def value_fn(params):
            return here.loss(params, state.model_state, batch)[0]

        (loss, model_state), gradient = jax.value_and_grad(here.loss, has_aux=True)(
            state.params, state.model_state, batch
        )
        updates, opt_state = transformation.update(
            gradient, state.opt_state, state.params, value=loss, grad=gradient, value_fn=value_fn
        )
        params = optax.apply_updates(state.params, updates)
        moved = state._replace(
            params=params,
            model_state=_cast_like(model_state, state.model_state),
            opt_state=_cast_like(opt_state, state.opt_state),
            step=state.step + 1,
        )
        return moved, View(state.params, loss, gradient, state.step, search_failed(opt_state))

    return TrainStep(init, update, renew, is_due)


def evaluation(
    problem: Problem | Callable[[Any], Problem],
) -> Callable[[TrainState], tuple[jax.Array, jax.Array]]:
    """Make a function `state -> (loss, gradient norm)` of what verdicts are about.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`. Its `full_loss` is evaluated where it has one,
        otherwise the loss on the batch that comes next.

    Returns
    -------
    callable
    """

    def evaluate(state):
        here = resolve_problem(problem, state.hyperparams)

        def value(params):
            if here.full_loss is not None:
                return here.full_loss(params, state.model_state)
            return here.loss(params, state.model_state, batch_of(here, state))[0]

        loss, gradient = jax.value_and_grad(value)(state.params)
        return loss, gradient_norm(gradient)

    return evaluate


def gradient_norm(gradient: chex.ArrayTree) -> jax.Array:
    """Euclidean norm over all leaves, accumulated in float32 or wider.

    Parameters
    ----------
    gradient
        Pytree of floating arrays.

    Returns
    -------
    array
        A number.
    """
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), gradient)
    return optax.tree.norm(wide)


def search_failed(opt_state: optax.OptState) -> jax.Array | None:
    """Say whether any line search or solver in an optimizer's state found no acceptable step.

    Parameters
    ----------
    opt_state
        Of any optax transformation. gdx's own have a field `failed`; optax's searches report how far their conditions
        were missed.

    Returns
    -------
    bool array or None
        None where there is nothing that can fail.
    """
    found = [flag for _, flag in optax.tree.get_all_with_path(opt_state, "failed")]
    found += [error > 0 for _, error in optax.tree.get_all_with_path(opt_state, "decrease_error")]
    found += [error > 0 for _, error in optax.tree.get_all_with_path(opt_state, "curvature_error")]
    return jnp.any(jnp.stack(found)) if found else None


def _strong(tree):
    """Arrays without weak types, so that what a scan carries keeps its type."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.asarray(leaf).dtype), tree)


def _cast_like(new, old):
    return jax.tree.map(lambda n, o: n if n.dtype == o.dtype else n.astype(o.dtype), _strong(new), old)
