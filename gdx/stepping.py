"""One training step of one run, as a pure (init, update) pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.problems.base import Problem

if TYPE_CHECKING:
    import chex

Family = Callable[[Any], optax.GradientTransformation]
"""A callable `hyperparams -> optax transformation`; a step size or a pytree of numbers goes in."""


class TrainState(NamedTuple):
    """Everything one run is made of."""

    hyperparams: Any
    """What the family takes: a step size or a pytree of numbers; never changes."""
    key: chex.PRNGKey | None
    """Draws the batches; None for a problem without batches."""
    params: chex.ArrayTree
    model_state: chex.ArrayTree
    opt_state: chex.ArrayTree
    step: jax.Array
    """Updates made so far, int32."""


class View(NamedTuple):
    """What a step shows of itself: where it started from."""

    params: chex.ArrayTree
    loss: jax.Array
    gradient: chex.ArrayTree
    step: jax.Array


class TrainStep(NamedTuple):
    """A pure pair."""

    init: Callable[[Any, chex.PRNGKey], TrainState]
    """`init(hyperparams, key) -> state`."""
    update: Callable[[TrainState], tuple[TrainState, View]]
    """`update(state) -> (state, view)`."""


def train_step(problem: Problem | Callable[[Any], Problem], family: Family) -> TrainStep:
    """Make the step that the sweep engine scans, for use in a loop of your own.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`, called inside the trace.
    family
        `hyperparams -> optax transformation`, called inside the trace, so that every number may be a tracer.

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
        return TrainState(hyperparams, batch_key, params, model_state, opt_state, jnp.zeros((), jnp.int32))

    def update(state):
        here = resolve_problem(problem, state.hyperparams)
        transformation = transformation_of(family, state.hyperparams)
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
        return moved, View(state.params, loss, gradient, state.step)

    return TrainStep(init, update)


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


def resolve_problem(problem: Problem | Callable[[Any], Problem], hyperparams: Any) -> Problem:
    """Give the Problem at these hyperparameters.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`.
    hyperparams
        What the callable takes.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If it is neither.
    """
    here = problem if isinstance(problem, Problem) or not callable(problem) else problem(hyperparams)
    if not isinstance(here, Problem):
        raise ValueError(f"problem: {type(here).__name__} is no gdx.Problem; make one with gdx.problem(init, loss)")
    return here


def transformation_of(family: Family, hyperparams: Any) -> optax.GradientTransformationExtraArgs:
    """Call the family and check that an optax transformation comes back.

    Parameters
    ----------
    family
        `hyperparams -> optax transformation`.
    hyperparams
        A step size or a pytree of numbers.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If it is no callable, or what comes back is no transformation.
    """
    if not callable(family):
        raise ValueError(
            f"family: {type(family).__name__} is not callable; pass a callable step_size -> optax transformation, "
            "such as optax.sgd, not optax.sgd(0.1)"
        )
    transformation = family(hyperparams)
    if not isinstance(transformation, optax.GradientTransformation):
        raise ValueError(
            f"family: it returns {type(transformation).__name__}, no optax transformation; "
            "pass a callable step_size -> optax transformation, such as optax.sgd"
        )
    return optax.with_extra_args_support(transformation)


def batch_of(problem: Problem, state: TrainState) -> Any:
    """Give the batch of this step, None for a problem without batches.

    Parameters
    ----------
    problem, state
        Which problem, and where its run stands.

    Returns
    -------
    Any
    """
    if problem.batches is None or state.key is None:
        return None
    return problem.batches(state.key, state.step)


def _strong(tree):
    """Arrays without weak types, so that what a scan carries keeps its type."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.asarray(leaf).dtype), tree)


def _cast_like(new, old):
    return jax.tree.map(lambda n, o: n if n.dtype == o.dtype else n.astype(o.dtype), _strong(new), old)
