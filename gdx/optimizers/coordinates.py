"""Coordinate descent: one coordinate, or one block of them, moves at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from gdx.optimizers.checking import check_positive, check_value_fn
from gdx.optimizers.dtypes import keep_dtypes
from gdx.optimizers.line_search.bracketing import minimise_along, scaled
from gdx.optimizers.line_search.line import line
from gdx.trees import widest

RULES = ("cyclic", "random", "greedy")
MAX_TRIALS = 60
"""Evaluations along the line after which an exact minimisation gives up."""


class CoordinateState(NamedTuple):
    """What coordinate descent remembers; the order is a function of the seed and the count."""

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    """Updates made so far, int32."""
    failed: jax.Array
    """Whether the last chosen slope was not finite or no minimum was found along it; bool."""


class _Choice(NamedTuple):
    """The parts that a step chooses from."""

    scores: jax.Array
    """What the greedy rule takes the largest of, one a part."""
    pick: Callable[[jax.Array], Any]
    """`index -> gradient of that part, divided by its Lipschitz constant, and 0 elsewhere`."""


def scale_by_coordinate(
    *,
    rule: Literal["cyclic", "random", "greedy"] = "cyclic",
    lipschitz: Any = None,
    seed: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Keep one coordinate of the gradient and give it its best length.

    Parameters
    ----------
    rule, lipschitz, seed
        As in `coordinate_descent`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `coordinate_descent`.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> method = gdx.optimizers.scale_by_coordinate(rule="greedy", lipschitz=jnp.array([1.0, 4.0]))
    >>> w = jnp.ones(2)
    >>> method.update(jnp.array([1.0, 4.0]), method.init(w), w)[0]  # the gradient over the curvature
    Array([0., 1.], dtype=float64)
    """
    return _scale_by_parts(_coordinates, rule, lipschitz, seed)


def coordinate_descent(
    step_size: optax.ScalarOrSchedule = 1.0,
    *,
    rule: Literal["cyclic", "random", "greedy"] = "cyclic",
    lipschitz: Any = None,
    seed: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Move one number of the parameters at a time.

    A whole gradient comes in, so this shows what the method does, not how cheap it can be made. On a quadratic the
    cyclic rule with exact steps is the Gauss-Seidel iteration, and `step_size` its relaxation (SOR), which converges in
    (0, 2).

    Parameters
    ----------
    step_size
        Share of the step that is taken, a number or a schedule.
    rule
        Which coordinate: "cyclic" takes them in order; "random" draws one uniformly, with replacement; "greedy" takes
        the largest absolute slope (Gauss-Southwell), divided by the root of its Lipschitz constant where there is one.
    lipschitz
        L_i, a bound of the second derivative along each coordinate: the step is g_i / L_i. A number for all, or a
        pytree like the parameters, of numbers or of arrays. Without it the loss is minimised along the coordinate.
    seed
        Of the random rule. Step t draws from `fold_in(key(seed), t)`, so that no key is in the state.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        What comes in as updates is taken for the gradient. Without `lipschitz` its `update` takes `value_fn=` and
        `params` too, and, where the caller has them, `value=` and `grad=`.

    Raises
    ------
    ValueError
        If the rule is unknown or a concrete Lipschitz constant is not above 0; traced ones cannot be checked. On
        update, if `value_fn` is missing or `lipschitz` is not like the parameters.

    Notes
    -----
    Where the chosen slope is not finite, the update is zero and the state's `failed` true; where no minimum is found
    along it, the update is the lowest trial. On a non-convex loss the minimum is a local one.

    Sources: Wright, "Coordinate descent algorithms", 2015, https://arxiv.org/abs/1502.04759; Nutini et al., "Coordinate
    Descent Converges Faster with the Gauss-Southwell Rule Than Random Selection", 2015,
    https://arxiv.org/abs/1506.00552, for the greedy rules.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: w[0] ** 2 + 5 * w[1] ** 2, jnp.ones(2)
    >>> method = gdx.optimizers.coordinate_descent()
    >>> method.update(jax.grad(loss)(w), method.init(w), w, value_fn=loss)[0]
    Array([-1., -0.], dtype=float64)
    """
    direction = scale_by_coordinate(rule=rule, lipschitz=lipschitz, seed=seed)
    return keep_dtypes(optax.chain(direction, optax.scale_by_learning_rate(step_size)))


def scale_by_block(
    *,
    rule: Literal["cyclic", "random", "greedy"] = "cyclic",
    lipschitz: Any = None,
    seed: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Keep one leaf of the gradient and give it its best length.

    Parameters
    ----------
    rule, lipschitz, seed
        As in `block_coordinate_descent`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `coordinate_descent`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss = lambda w: jnp.sum(w["x"] ** 2) + jnp.sum(w["y"] ** 2)
    >>> w = {"x": jnp.ones(2), "y": jnp.ones(1)}
    >>> method = gdx.optimizers.scale_by_block(lipschitz={"x": 2.0, "y": 2.0})
    >>> method.update(jax.grad(loss)(w), method.init(w), w)[0]
    {'x': Array([1., 1.], dtype=float64), 'y': Array([0.], dtype=float64)}
    """
    return _scale_by_parts(_blocks, rule, lipschitz, seed)


def block_coordinate_descent(
    step_size: optax.ScalarOrSchedule = 1.0,
    *,
    rule: Literal["cyclic", "random", "greedy"] = "cyclic",
    lipschitz: Any = None,
    seed: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Move one leaf of the parameters at a time, along its gradient.

    A block takes a step of gradient descent, exact along the line or 1 / L_b long; it is not minimised over all its
    directions.

    Parameters
    ----------
    step_size, seed
        As in `coordinate_descent`.
    rule
        As there, over leaves in the order of `jax.tree.leaves`; "greedy" goes by the norm of a leaf's gradient.
    lipschitz
        L_b, a bound of the largest Hessian eigenvalue within each block: a number for all, or a pytree like the
        parameters, of numbers.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Called as that of `coordinate_descent`.

    Raises
    ------
    ValueError
        As `coordinate_descent`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss = lambda w: w["x"] ** 2 + 5 * w["y"] ** 2
    >>> w = {"x": jnp.ones(()), "y": jnp.ones(())}
    >>> method = gdx.optimizers.block_coordinate_descent(rule="greedy")
    >>> method.update(jax.grad(loss)(w), method.init(w), w, value_fn=loss)[0]  # the steeper one, to its minimum
    {'x': Array(-0., dtype=float64), 'y': Array(-1., dtype=float64)}
    """
    direction = scale_by_block(rule=rule, lipschitz=lipschitz, seed=seed)
    return keep_dtypes(optax.chain(direction, optax.scale_by_learning_rate(step_size)))


def _scale_by_parts(divide, rule, lipschitz, seed):
    if rule not in RULES:
        raise ValueError(f"rule: {rule!r} is unknown; pass one of {', '.join(RULES)}")
    for leaf in jax.tree.leaves(lipschitz):
        check_positive("lipschitz", leaf, "pass a bound of the second derivative, or leave it out for exact steps")

    def init_fn(params):
        del params
        return CoordinateState(jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def update_fn(updates, state, params: Any = None, *, value=None, grad=None, value_fn: Any = None, **extra_args):
        del extra_args
        choice = divide(updates, lipschitz)
        picked = choice.pick(_index(rule, seed, state.count, choice.scores))
        if lipschitz is None:
            check_value_fn(value_fn, params, "a minimum along a coordinate cannot be found without the loss")
            along = line(value_fn, params, optax.tree.scale(-1, picked), value, grad)
            found = minimise_along(along, jnp.ones((), widest(params)), MAX_TRIALS)
            update, failed = scaled(picked, found.step), found.failed
        else:
            failed = ~jnp.isfinite(optax.tree.norm(optax.tree.cast(picked, widest(picked))))
            update = jax.tree.map(lambda leaf: jnp.where(failed, 0.0, leaf), picked)
        return update, CoordinateState(jnp.asarray(optax.safe_increment(state.count)), failed)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def _index(rule, seed, count, scores):
    if rule == "cyclic":
        return count % scores.size
    if rule == "random":
        return jax.random.randint(jax.random.fold_in(jax.random.key(seed), count), (), 0, scores.size)
    return jnp.argmax(scores)


def _coordinates(updates, lipschitz):
    flat, unravel = ravel_pytree(updates)
    constants = _constants(lipschitz, updates, jnp.shape)
    steps, roots = flat, 1.0
    if constants is not None:
        bounds = ravel_pytree(constants)[0]
        steps, roots = flat / bounds, jnp.sqrt(bounds)
    entries = jnp.arange(flat.size)
    return _Choice(
        jnp.abs(flat) / roots, lambda index: unravel(jnp.where(entries == index, steps, 0.0).astype(flat.dtype))
    )


def _blocks(updates, lipschitz):
    leaves, structure = jax.tree.flatten(updates)
    dtype = widest(updates)
    constants = _constants(lipschitz, updates, lambda leaf: ())
    bounds = [1.0] * len(leaves) if constants is None else jax.tree.leaves(constants)
    norms = [jnp.linalg.norm(leaf.astype(dtype).ravel()) for leaf in leaves]
    scores = jnp.stack([norm / jnp.sqrt(bound) for norm, bound in zip(norms, bounds, strict=True)])

    def pick(index):
        steps = [leaf / bound for leaf, bound in zip(leaves, bounds, strict=True)]
        return structure.unflatten([jnp.where(index == number, step, 0.0) for number, step in enumerate(steps)])

    return _Choice(scores, pick)


def _constants(lipschitz, updates, shape_of):
    """Give the Lipschitz constants as a pytree like the updates, in the shapes wanted; None where there are none."""
    if lipschitz is None:
        return None
    if jax.tree_util.all_leaves([lipschitz]) and jnp.ndim(lipschitz) == 0:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(lipschitz, shape_of(leaf)), updates)
    if jax.tree.structure(lipschitz) != jax.tree.structure(updates):
        raise ValueError(
            f"lipschitz: {jax.tree.structure(lipschitz)} is not the parameters' structure; "
            "pass a number or a pytree like the parameters"
        )

    def fit(bound, leaf):
        if jnp.shape(bound) not in ((), shape_of(leaf)):
            raise ValueError(
                f"lipschitz: shape {jnp.shape(bound)} fits no {shape_of(leaf)}; pass a number for each leaf"
            )
        return jnp.broadcast_to(bound, shape_of(leaf))

    return jax.tree.map(fit, lipschitz, updates)
