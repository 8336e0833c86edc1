"""Nesterov's momentum as the textbook has it: the gradient is taken where the momentum leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.optimizers.checking import check_coefficient, check_value_fn
from gdx.optimizers.dtypes import keep_dtypes
from gdx.trees import cast_like

if TYPE_CHECKING:
    import chex


class NesterovLookaheadState(NamedTuple):
    """What the method remembers."""

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    """Updates made so far, int32."""
    velocity: chex.ArrayTree
    """The last update, shaped as the parameters."""


def scale_by_nesterov_lookahead(
    step_size: optax.ScalarOrSchedule, momentum: chex.Numeric = 0.9
) -> optax.GradientTransformationExtraArgs:
    """Replace the gradient by a velocity that looks ahead.

        v' = b v - a grad f(x + b v)

    Parameters
    ----------
    step_size
        a, a number or a schedule. It stands inside the velocity, so a later one does not change the way already made.
    momentum
        b, in [0, 1).

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=` and `params`, and uses nothing else of what comes in: a clipping before it in a
        chain has no effect. Its updates are the velocity itself, ready to be added.

    Raises
    ------
    ValueError
        If a concrete momentum is outside [0, 1); a traced one cannot be checked. On update, if `value_fn` or the
        parameters are missing.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> loss, w = lambda w: 0.5 * jnp.sum(w**2), jnp.ones(1)
    >>> method = gdx.optimizers.scale_by_nesterov_lookahead(0.5, momentum=0.5)
    >>> state = method.init(w)
    >>> for _ in range(2):
    ...     updates, state = method.update(jax.grad(loss)(w), state, w, value_fn=loss)
    ...     w = optax.apply_updates(w, updates)
    ...     print(w)
    [0.5]
    [0.125]
    """
    check_coefficient("momentum", momentum)

    def init_fn(params):
        return NesterovLookaheadState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None, *, value_fn: Any = None, **extra_args):
        del updates, extra_args
        check_value_fn(value_fn, params, "the gradient is taken at another point than the parameters")
        ahead = cast_like(jax.tree.map(lambda p, v: p + momentum * v, params, state.velocity), params)
        gradient = jax.grad(value_fn)(ahead)
        step = step_size(state.count) if callable(step_size) else step_size
        velocity = jax.tree.map(lambda v, g: momentum * v - step * g, state.velocity, gradient)
        return velocity, NesterovLookaheadState(jnp.asarray(optax.safe_increment(state.count)), velocity)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def nesterov_lookahead(
    step_size: optax.ScalarOrSchedule, momentum: chex.Numeric = 0.9
) -> optax.GradientTransformationExtraArgs:
    """Nesterov's accelerated gradient with the gradient at the look-ahead point.

        v' = b v - a grad f(x + b v)
        x' = x + v'

    Parameters
    ----------
    step_size, momentum
        As in `scale_by_nesterov_lookahead`.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` needs `value_fn=`, and spends one more gradient than the one that comes in.

    Raises
    ------
    ValueError
        As `scale_by_nesterov_lookahead`.

    Notes
    -----
    While step size and momentum are constant, `optax.sgd(step_size, momentum, nesterov=True)` is the same method with
    another name for its iterates: they are x + b v. With a changing step size the two differ.

    Source: Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k^2)", 1983, in the
    form of Sutskever, Martens, Dahl & Hinton, "On the importance of initialization and momentum in deep learning",
    2013, https://proceedings.mlr.press/v28/sutskever13.html.

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0], start=[1.0])
    >>> method = gdx.optimizers.nesterov_lookahead(0.5, momentum=0.5)
    >>> gdx.trajectory(bowl, method, jax.random.key(0), num_steps=2).params[:, 0]
    Array([1.   , 0.5  , 0.125], dtype=float64)
    """
    return scale_by_nesterov_lookahead(step_size, momentum)
