"""One training step of one run, as a pure (init, update) pair."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.checks import inside
from gdx.problems.base import Epochs, Problem
from gdx.records import record
from gdx.rewriting import suited_to_cpu
from gdx.stepping.carrying import begun, carried, loss_like, updates_of
from gdx.stepping.frozen import never_moved, without_frozen
from gdx.stepping.keys import batch_key
from gdx.stepping.ordering import batch_of, draw_orders, reaches
from gdx.stepping.resolving import Family, resolve_problem, told_by, transformation_of
from gdx.stepping.state import TrainState, View

if TYPE_CHECKING:
    import chex


@record
class TrainStep(NamedTuple):
    """A pure pair, and what may be taken out of it.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> step = gdx.train_step(gdx.problems.quadratic([2.0], start=[1.0]), optax.sgd)
    >>> state, view = jax.jit(step.update)(step.init(0.25, jax.random.key(0)))
    >>> float(state.params[0]), float(view.loss)
    (0.5, 1.0)
    """

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
        bfloat16 leaves, and a scan would fail. A whole number of a state that becomes a fraction with the first update
        is one from the start.

    Raises
    ------
    ValueError
        On the first call, if the family does not return an optax transformation, a state changes its structure or
        shape, or something is raised inside the problem or the optimizer, whose name stands in front.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> step = gdx.train_step(gdx.problems.quartic(), optax.sgd)
    >>> state = step.init(0.1, jax.random.key(0))
    >>> state, view = jax.lax.scan(lambda s, _: step.update(s), state, length=100)
    >>> bool(view.loss[-1] < 1e-9)
    True
    """

    def init(hyperparams, key):
        here = resolve_problem(problem, hyperparams)
        with inside("init"):
            params, model_state = here.init(key)
        transformation = transformation_of(family, hyperparams)
        with inside("family"):
            opt_state: Any = transformation.init(params)
        draws = None if here.batches is None else batch_key(key)
        start = TrainState(hyperparams, draws, params, model_state, opt_state, jnp.zeros((), jnp.int32))
        return begun(here, transformation, renew(start))

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
        with inside("batches"):
            batch = batch_of(here, state)
        with inside("loss"):
            (loss, model_state), gradient = jax.value_and_grad(here.loss, has_aux=True)(
                state.params, state.model_state, batch
            )
        updates, opt_state = updates_of(here, transformation, state, batch, loss, gradient)
        with inside("family"):
            params = optax.apply_updates(state.params, updates)
        moved = state._replace(
            params=carried("family: what its updates make of the parameters", params, state.params),
            model_state=carried("loss: its state", model_state, state.model_state),
            opt_state=carried("family: its state", opt_state, state.opt_state),
            step=state.step + 1,
        )
        seen = View(state.params, loss, gradient, state.step, updates, state.hyperparams, search_failed(opt_state))
        return moved, seen

    return TrainStep(suited_to_cpu(init), suited_to_cpu(update), renew, is_due)


def evaluation(
    problem: Problem | Callable[[Any], Problem], frozen: chex.ArrayTree | None = None
) -> Callable[[TrainState], tuple[jax.Array, jax.Array]]:
    """Make a function `state -> (loss, gradient norm)` of what verdicts are about.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`. Its `full_loss` is evaluated where it has one,
        otherwise the loss on the batch that comes next.
    frozen
        Parameters that never move, as `frozen_params` gives them; the norm leaves them out.

    Returns
    -------
    callable

    Examples
    --------
    >>> import jax, optax, gdx
    >>> problem = gdx.problems.quadratic([2.0], start=[1.0])
    >>> state = gdx.train_step(problem, optax.sgd).init(0.1, jax.random.key(0))
    >>> [float(value) for value in gdx.stepping.evaluation(problem)(state)]  # loss and gradient norm
    [1.0, 2.0]
    """

    def evaluate(state):
        here = resolve_problem(problem, state.hyperparams)

        def value(params):
            if here.full_loss is not None:
                return here.full_loss(params, state.model_state)
            return here.loss(params, state.model_state, batch_of(here, state))[0]

        with inside("loss" if here.full_loss is None else "full_loss"):
            loss, gradient = jax.value_and_grad(value)(state.params)
        return loss, gradient_norm(gradient, frozen)

    return suited_to_cpu(evaluate)


def frozen_params(
    problem: Problem | Callable[[Any], Problem], family: Family, state: TrainState
) -> chex.ArrayTree | None:
    """Find the parameters that an optimizer provably never moves, at any hyperparameters; nothing is computed.

    Parameters
    ----------
    problem, family
        As in `train_step`.
    state
        Of one run, or its shapes.

    Returns
    -------
    pytree of NumPy bool, or None
        As the parameters, True where nothing moves; None where that is nowhere.

    Raises
    ------
    ValueError
        If the optimizer moves nothing at all.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> problem = gdx.problem({"x": jnp.ones(1), "y": jnp.ones(1)}, lambda w: jnp.sum(w["x"] * w["y"]))
    >>> family = lambda h: optax.chain(optax.masked(optax.set_to_zero(), {"x": True, "y": False}), optax.sgd(h))
    >>> state = gdx.train_step(problem, family).init(0.1, jax.random.key(0))
    >>> gdx.stepping.frozen_params(problem, family, state)
    {'x': array([ True]), 'y': array([False])}
    """

    def look(state):
        here = resolve_problem(problem, state.hyperparams)
        transformation = transformation_of(family, state.hyperparams)

        def update(gradient, opt_state, params):
            inner = state._replace(opt_state=opt_state, params=params)
            return updates_of(here, transformation, inner, batch_of(here, inner), loss_like(params), gradient)

        return never_moved(transformation.init, update, state.params)

    found = told_by(look, state)
    leaves = jax.tree.leaves(found)
    if all(leaf.all() for leaf in leaves) and any(leaf.size for leaf in leaves):
        raise ValueError("family: its updates are zero whatever the gradient; pass one that moves some parameter")
    return found if any(leaf.any() for leaf in leaves) else None


def gradient_norm(gradient: chex.ArrayTree, frozen: chex.ArrayTree | None = None) -> jax.Array:
    """Euclidean norm over all leaves, accumulated in float32 or wider, whose squares neither overflow nor vanish.

    Parameters
    ----------
    gradient
        Pytree of floating arrays.
    frozen
        Entries to leave out, as `frozen_params` gives them.

    Returns
    -------
    array
        A number.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> float(gdx.stepping.gradient_norm({"x": jnp.array([3.0]), "y": jnp.array([4.0])}))
    5.0
    """
    leaves = [leaf for leaf in jax.tree.leaves(without_frozen(gradient, frozen)) if leaf.size]
    dtype = functools.reduce(jnp.promote_types, [leaf.dtype for leaf in leaves], jnp.float32)
    wide = [leaf.astype(dtype) for leaf in leaves]
    largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf)) for leaf in wide], jnp.zeros((), dtype))
    # A power of two changes no digit, so that the norm is the plain one wherever that is a number.
    far = jnp.finfo(dtype).maxexp // 8
    up, down = jnp.asarray(2.0 ** (5 * far), dtype), jnp.asarray(2.0 ** (-5 * far), dtype)
    is_small, is_large = largest < 2.0 ** (-2.5 * far), largest > 2.0 ** (2.75 * far)

    def scaled(leaf):
        # One of three, not times one of three: XLA would square a constant gradient and the factor each by itself.
        return jnp.where(is_small, leaf * up, jnp.where(is_large, leaf * down, leaf))

    total = sum((jnp.sum(scaled(leaf) ** 2) for leaf in wide), jnp.zeros((), dtype))
    return jnp.sqrt(total) * jnp.where(is_small, down, jnp.where(is_large, up, jnp.ones((), dtype)))


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

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> state = gdx.optimizers.wolfe().init(jnp.ones(1))
    >>> bool(gdx.stepping.search_failed(state))
    False
    """
    found = [flag for _, flag in optax.tree.get_all_with_path(opt_state, "failed")]
    found += [error > 0 for _, error in optax.tree.get_all_with_path(opt_state, "decrease_error")]
    found += [error > 0 for _, error in optax.tree.get_all_with_path(opt_state, "curvature_error")]
    return jnp.any(jnp.stack(found)) if found else None
