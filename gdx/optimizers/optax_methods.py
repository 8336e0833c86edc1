"""Methods of optax that are put together here: a search behind a direction, a loss under the name that is asked for."""

from __future__ import annotations

import functools
from typing import Any

import optax
from jax.core import Tracer
from optax import contrib

AT_REST = 1e-30
"""Loss by which a zoom search may miss its conditions. At rest what it compares with optax's 0 is rounding alone, some
1e-35, which one part of a compiled program may find to be 0 and another not: lanes side by side then searched for ever.
"""


def backtracking(
    step_size: optax.ScalarOrSchedule = 1.0,
    *,
    slope_rtol: float = 1e-4,
    decrease_factor: float = 0.8,
    increase_factor: float = 1.5,
    max_trials: int = 40,
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with optax's backtracking search for sufficient decrease (Armijo's condition).

    A share a of the step p is accepted when f(x + a p) <= f(x) + c1 a g.p. It shrinks until then, and the next search
    begins with a larger share, at most 1; so a step size far too small stays so, while one far too large is mended.
    On failure optax takes the last share tried, 0 where the loss there was not finite, and reports by how much the
    condition was missed; a gradient that is not finite is passed on.

    Parameters
    ----------
    step_size
        Of gradient descent; the search takes a share of it, at most 1, and lets the share grow between steps.
    slope_rtol
        Armijo's constant c1, in (0, 1).
    decrease_factor, increase_factor
        By which the share shrinks within a search and grows between two.
    max_trials
        Evaluations of the loss after which a search gives up.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([10.0], start=[1.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.backtracking(1e3), jax.random.key(0), num_steps=3)
    >>> bool((path.loss[1:] < path.loss[:-1]).all())  # though the step size is far beyond 2/10
    True
    """
    search = optax.scale_by_backtracking_linesearch(
        max_trials, slope_rtol=slope_rtol, decrease_factor=decrease_factor, increase_factor=increase_factor
    )
    return optax.chain(optax.sgd(step_size), search)


def strong_wolfe(
    step_size: optax.ScalarOrSchedule = 1.0,
    *,
    slope_rtol: float = 1e-4,
    curv_rtol: float = 0.9,
    max_trials: int = 40,
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with optax's zoom search for the strong Wolfe conditions.

    A multiple a of the step p is accepted when f(x + a p) <= f(x) + c1 a g.p and |grad f(x + a p).p| <= c2 |g.p|. On
    failure optax takes the best step that decreased the loss and reports by how much each condition was missed; on a
    loss that is unbounded below along the step it may walk to infinity.

    Parameters
    ----------
    step_size
        Of gradient descent; the search multiplies it.
    slope_rtol, curv_rtol
        The constants c1 and c2 of sufficient decrease and of curvature, 0 < c1 < c2 < 1.
    max_trials
        Evaluations of the loss after which a search gives up.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If concrete constants are out of order; traced ones cannot be checked.

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([10.0], start=[1.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.strong_wolfe(1e-3), jax.random.key(0), num_steps=3)
    >>> bool((path.loss[1:] < 0.9 * path.loss[:-1]).all())  # though the step size is far too small
    True
    """
    if not isinstance(slope_rtol, Tracer) and not isinstance(curv_rtol, Tracer) and not slope_rtol < curv_rtol:
        raise ValueError(f"slope_rtol: {slope_rtol} is not below curv_rtol = {curv_rtol}; pass 1e-4 and 0.9")
    search = optax.scale_by_zoom_linesearch(max_trials, slope_rtol=slope_rtol, curv_rtol=curv_rtol, tol=AT_REST)
    return optax.chain(optax.sgd(step_size), search)


def lbfgs(
    learning_rate: optax.ScalarOrSchedule, memory_size: int = 10, scale_init_precond: bool = True
) -> optax.GradientTransformationExtraArgs:
    """optax.lbfgs, with a zoom search that ends where a run has come to rest, see `AT_REST`.

    Parameters
    ----------
    learning_rate, memory_size, scale_init_precond
        As optax's.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 10.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.lbfgs(1.0), jax.random.key(0), num_steps=10)
    >>> float(path.loss[-1]) < 1e-12
    True
    """
    search = optax.scale_by_zoom_linesearch(20, initial_guess_strategy="one", tol=AT_REST)
    return optax.lbfgs(learning_rate, memory_size, scale_init_precond, search)


@functools.wraps(contrib.sophia, assigned=())  # its signature, but not its words
def sophia(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
    """Make optax.contrib.sophia and hand it the loss as `obj_fn`, the name under which it asks for it.

    With m the bias-corrected average of the gradients and h that of the estimates of the Hessian's diagonal, the update
    is `-learning_rate * (clip(m / max(gamma * h, eps), -clip_threshold, clip_threshold) + weight_decay * params)`.

    Parameters
    ----------
    *args, **kwargs
        Those of `optax.contrib.sophia`, by its names and with its defaults; neither optax nor this checks them:

        - `learning_rate`: step size in [0, inf), or a schedule of such;
        - `b1`, `b2`: what the averages of gradients and of estimates keep each time, shares in [0, 1), 0.965 and 0.99;
        - `eps`: least divisor, in (0, inf), 1e-8;
        - `weight_decay`: rate in [0, inf), 1e-4, and `weight_decay_mask`, the leaves that decay, all by default;
        - `gamma`: factor of the estimates, in (0, inf), 0.01;
        - `clip_threshold`: largest entry of an update before the step size, in (0, inf), 1, or None for no clipping;
        - `update_interval`: steps between two estimates, a whole number of at least 1, 10;
        - `hessian_diagonal_fn`: transformation that estimates the diagonal, Hutchinson's with random signs by default;
        - `mu_dtype`: type of the average of the gradients, that of the parameters by default;
        - `verbose`, `print_win_rate_every_n_steps`: whether, and every how many steps, the unclipped share is printed.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=`, the loss as a function of the parameters alone, and needs the parameters.

    Raises
    ------
    ValueError
        On update, if the parameters are missing, or `value_fn` is and the estimator is Hutchinson's.

    Notes
    -----
    Equals `optax.contrib.sophia` whose `update` is given `obj_fn=value_fn`. An estimate serves from the next step on;
    at the first step h is 0, and the update is clipped wherever the gradient is not tiny.

    Source: Liu et al., "Sophia: a scalable stochastic second-order optimizer for language model pre-training", arXiv
    2305.14342.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> loss, w = lambda w: 5.0 * jnp.sum(w**2), jnp.ones(2)
    >>> method = gdx.optimizers.sophia(0.1)
    >>> updates, state = method.update(jax.grad(loss)(w), method.init(w), w, value_fn=loss)
    >>> updates.round(3)  # clipped at first, to the step size, with a little weight decay
    Array([-0.1, -0.1], dtype=float64)
    """
    inner = optax.with_extra_args_support(contrib.sophia(*args, **kwargs))

    def update_fn(updates, state, params=None, *, value_fn=None, **extra_args):
        return inner.update(updates, state, params, obj_fn=value_fn, **extra_args)

    return optax.GradientTransformationExtraArgs(inner.init, update_fn)
