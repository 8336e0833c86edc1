"""Newton's method with the whole Hessian, made safe at saddles by absolute values of its eigenvalues."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from gdx.optimizers.checking import check_at_least_zero, check_between, check_value_fn
from gdx.optimizers.dtypes import keep_dtypes
from gdx.trees import widest

if TYPE_CHECKING:
    import chex

SLACK_ULPS = 4
"""Rounding errors of the loss that sufficient decrease forgives: near a minimum the loss no longer resolves it."""


class NewtonState(NamedTuple):
    """What Newton's method says of its last step."""

    failed: jax.Array
    """Whether gradient or Hessian were not finite, and the update therefore zero; bool."""


class DampedNewtonState(NamedTuple):
    """What the damped method remembers and says of its last step."""

    failed: jax.Array
    """Whether there was no direction, or no share of it lowered the loss enough; the update was then zero; bool."""
    share: jax.Array
    """Of the first trial that was taken, in [0, 1]."""
    first_trial: optax.OptState
    """Where the step size's schedule stands."""


def newton_direction(
    value_fn: Callable[[Any], jax.Array],
    params: Any,
    gradient: Any,
    damping: chex.Numeric = 0.0,
    floor: chex.Numeric = 1e-10,
) -> tuple[chex.ArrayTree, jax.Array]:
    """Solve for Newton's direction with absolute eigenvalues.

    Parameters
    ----------
    value_fn
        `params -> loss`, twice differentiable.
    params
        Pytree of floating arrays, D numbers in all.
    gradient
        What the Hessian is divided into, shaped as the parameters.
    damping, floor
        As in `scale_by_newton`.

    Returns
    -------
    pytree, array
        |H|^-1 gradient, shaped as the parameters, in float32 or wider; and whether that failed, the direction then
        being 0.
    """
    dtype = widest(params)
    # Second derivatives through bfloat16 arithmetic would be noise.
    flat, unravel = ravel_pytree(optax.tree.cast(params, dtype))
    g = ravel_pytree(optax.tree.cast(gradient, dtype))[0]
    hessian = jax.hessian(lambda vector: value_fn(unravel(vector)).astype(dtype))(flat)
    is_finite = jnp.all(jnp.isfinite(hessian)) & jnp.all(jnp.isfinite(g))
    # What eigh makes of a NaN differs from backend to backend, so it sees none.
    eigenvalues, vectors = jnp.linalg.eigh(jnp.where(is_finite, hessian, jnp.eye(flat.size, dtype=dtype)))
    sizes = jnp.abs(eigenvalues)
    # Eigenvalues below this are rounding of the largest.
    lowest = jnp.maximum(floor, flat.size * jnp.finfo(dtype).eps) * jnp.max(sizes)
    divisors = jnp.maximum(sizes, lowest) + damping
    components = vectors.T @ g
    # A flat point where the loss does not curve at all: 0/0, and there is nowhere to go.
    direction = vectors @ jnp.where(components == 0, 0.0, components / divisors)
    failed = ~(is_finite & jnp.all(jnp.isfinite(direction)))
    return unravel(jnp.where(failed, 0.0, direction).astype(dtype)), failed


def scale_by_newton(
    *, damping: chex.Numeric = 0.0, floor: chex.Numeric = 1e-10
) -> optax.GradientTransformationExtraArgs:
    """Multiply the gradient by the inverse of the Hessian's absolute value.

    H = V diag(l) V^T is taken apart, and the direction is V diag(1 / (max(|l|, floor max|l|) + damping)) V^T g.

    Where the Hessian is positive definite this is Newton's direction. Where it is not, Newton's own direction leads to
    saddles and maxima; this one keeps its length in every eigendirection and turns those of negative curvature round,
    so that it always descends.

    Parameters
    ----------
    damping
        Added to every absolute eigenvalue (Levenberg), at least 0, in units of the Hessian: directions that curve less
        than this move as in gradient descent with step size 1 / damping.
    floor
        Least absolute eigenvalue, relative to the largest; at least 0. It bounds the step in directions that are flat
        up to rounding, and is never below D times the machine precision.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=` and `params`; what comes in as updates is taken for the gradient. What comes out
        points uphill, as the gradient does: a line search behind it wants `optax.scale(-1.0)` in between.

    Raises
    ------
    ValueError
        If a concrete number is negative; traced ones cannot be checked. On update, if `value_fn` or the parameters
        are missing.

    Notes
    -----
    D^2 numbers of memory and D^3 operations a step: for up to some thousand parameters; `newton_cg` is for more. A
    gradient or Hessian that is not finite makes the update zero and the state's `failed` true. The loss is evaluated on
    the parameters in float32 or wider, also where they are bfloat16.

    Sources: Dauphin et al., "Identifying and attacking the saddle point problem in high-dimensional non-convex
    optimization", 2014, https://arxiv.org/abs/1406.2572, who do this in a Krylov subspace; Nocedal & Wright,
    Numerical Optimization, section 3.4, on modified eigenvalues. The floor is gdx's.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: w[0] ** 2 - 5 * w[1] ** 2, jnp.ones(2)
    >>> method = gdx.optimizers.scale_by_newton()
    >>> method.update(jax.grad(loss)(w), method.init(w), w, value_fn=loss)[0]  # minus it leads away from the saddle
    Array([ 1., -1.], dtype=float64)
    """
    check_at_least_zero("damping", damping)
    check_at_least_zero("floor", floor, "pass 0 to leave it to the machine precision")

    def init_fn(params):
        del params
        return NewtonState(jnp.zeros((), bool))

    def update_fn(updates, state, params=None, *, value_fn: Any = None, **extra_args):
        del state, extra_args
        check_value_fn(value_fn, params, "Newton's method needs the loss's Hessian")
        direction, failed = newton_direction(value_fn, params, updates, damping, floor)
        return direction, NewtonState(failed)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def newton(
    step_size: optax.ScalarOrSchedule = 1.0, *, damping: chex.Numeric = 0.0, floor: chex.Numeric = 1e-10
) -> optax.GradientTransformationExtraArgs:
    """Newton's method with absolute eigenvalues, without a search.

    Near a minimum with positive definite Hessian the error is squared at every step. Far from one it may diverge:
    `damped_newton` does not.

    Parameters
    ----------
    step_size
        Share of the step that is taken, a number or a schedule: 1 is Newton's, and on a strictly convex quadratic every
        share in (0, 2) converges.
    damping, floor
        As in `scale_by_newton`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_newton`.

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 10.0], start=[1.0, 1.0])
    >>> gdx.trajectory(bowl, gdx.optimizers.newton(), jax.random.key(0), num_steps=1).loss
    Array([5.5, 0. ], dtype=float64)
    """
    return keep_dtypes(
        optax.chain(scale_by_newton(damping=damping, floor=floor), optax.scale_by_learning_rate(step_size))
    )


def damped_newton(
    step_size: optax.ScalarOrSchedule = 1.0,
    *,
    damping: chex.Numeric = 0.0,
    floor: chex.Numeric = 1e-10,
    slope_rtol: chex.Numeric = 1e-4,
    max_trials: int = 40,
) -> optax.GradientTransformationExtraArgs:
    """Newton's method with absolute eigenvalues and optax's backtracking search behind it.

    The first trial of every search is `step_size` times the direction, and each later one half of the one before, until
    the loss falls by Armijo's share of what its slope promises. Near a minimum the first trial at 1 is accepted.

    Parameters
    ----------
    step_size
        First trial, a number or a schedule.
    damping, floor
        As in `scale_by_newton`.
    slope_rtol
        Armijo's constant c1, in (0, 1/2), or Newton's own step would be refused next to the minimum.
    max_trials
        Halvings after which a search gives up.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_newton`.

    Notes
    -----
    The loss never rises by more than four rounding errors. Where a search gives up the update is zero and the
    state's `failed` is true; nothing is remembered of it, the next search starts at the first trial again.

    Examples
    --------
    >>> import jax, gdx
    >>> valley, method = gdx.problems.rosenbrock(), gdx.optimizers.damped_newton()
    >>> path = gdx.trajectory(valley, method, jax.random.key(0), num_steps=30)
    >>> bool(path.loss[-1] < 1e-20), bool((path.loss[1:] <= path.loss[:-1]).all())
    (True, True)
    """
    check_between("slope_rtol", slope_rtol, 0, 1, "the usual value is 1e-4")
    check_at_least_zero("damping", damping)
    check_at_least_zero("floor", floor, "pass 0 to leave it to the machine precision")
    first_trial = optax.scale_by_learning_rate(step_size)

    def init_fn(params):
        share = jnp.zeros((), widest(params))
        return DampedNewtonState(jnp.zeros((), bool), share, first_trial.init(params))

    def update_fn(updates, state, params=None, *, value_fn: Any = None, **extra_args):
        del extra_args
        check_value_fn(value_fn, params, "Newton's method needs the loss's Hessian")
        direction, no_direction = newton_direction(value_fn, params, updates, damping, floor)
        trial, trial_state = first_trial.update(direction, state.first_trial, params)
        update, share, not_found = _backtrack(value_fn, params, trial, slope_rtol, max_trials)
        failed = no_direction | not_found
        update = jax.tree.map(lambda leaf: jnp.where(failed, 0.0, leaf), update)
        return update, DampedNewtonState(failed, jnp.where(failed, 0.0, share), trial_state)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def _backtrack(value_fn, params, trial, slope_rtol, max_trials):
    """Halve a step until it lowers the loss enough: the update, its share of the trial, and whether none did."""
    dtype = widest(params)
    params, trial = optax.tree.cast(params, dtype), optax.tree.cast(trial, dtype)
    value, grad = jax.value_and_grad(lambda p: value_fn(p).astype(dtype))(params)
    slack = SLACK_ULPS * jnp.finfo(dtype).eps * jnp.abs(value)
    search = optax.scale_by_backtracking_linesearch(
        max_trials, slope_rtol=slope_rtol, decrease_factor=0.5, increase_factor=jnp.inf, atol=slack
    )
    # A state made anew: optax's search, once it has failed, takes a step of 0 for good.
    end: Any
    update, end = search.update(trial, search.init(params), params, value=value, grad=grad, value_fn=value_fn)
    return update, end.learning_rate, ~(end.info.decrease_error <= slack)
