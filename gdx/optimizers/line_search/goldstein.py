"""Goldstein's line search: the decrease is neither too small for the step nor the step too small for the decrease."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import optax

from gdx.optimizers.checking import check_between, check_positive
from gdx.optimizers.dtypes import keep_dtypes
from gdx.optimizers.line_search.bracketing import ACCEPTED, TOO_LONG, TOO_SHORT, search
from gdx.optimizers.line_search.line import without_slope
from gdx.optimizers.line_search.searching import searching

if TYPE_CHECKING:
    import chex


def scale_by_goldstein(
    first_step: chex.Numeric = 1.0, *, c: chex.Numeric = 0.25, max_trials: int = 60, restarts: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Scale a direction of descent so that Goldstein's two bounds hold.

    A step a along the direction p is accepted when

        f(x) + (1 - c) a g.p  <=  f(x + a p)  <=  f(x) + c a g.p

    up to four rounding errors of the loss. The lower bound is what lets the search grow: a step below it is too short.
    Only losses are evaluated along the line, no gradients.

    Parameters
    ----------
    first_step
        First trial of the first search, above 0; each later search begins with the step accepted last.
    c
        In (0, 1/2). At 1/2 only the minimum of a parabola would be accepted, near 0 almost any decrease.
    max_trials
        Evaluations of the loss after which a search gives up.
    restarts
        Whether every search begins with `first_step`, as suits directions of Newton's or L-BFGS's length.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=` and, where the caller has them, `value=` and `grad=`, as optax's searches do.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked. On update, if `value_fn` is missing.

    Notes
    -----
    On failure (an update that does not descend, as one without its minus sign, nothing acceptable within `max_trials`)
    the update is the lowest trial, zero if none was lower, and the state's `failed` says so. On non-convex functions
    the bounds can exclude every minimum of the line.

    Source: Nocedal & Wright, Numerical Optimization, section 3.1. They give the bounds, not how to search; the bracket
    and its parabolas are gdx's.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: 5.0 * jnp.sum(w**2), jnp.ones(1)
    >>> method, gradient = gdx.optimizers.scale_by_goldstein(), jax.grad(loss)(w)
    >>> updates, state = method.update(-gradient, method.init(w), w, value=loss(w), grad=gradient, value_fn=loss)
    >>> bool(loss(w + updates) < 0.5 * loss(w)), bool(state.failed)
    (True, False)
    """
    check_positive("first_step", first_step)
    check_between("c", c, 0, 0.5)

    def find(along, first_trial):
        start, slack = along.start, along.slack

        def judge(trial):
            drop = trial.step * start.slope
            is_long = trial.value > start.value + c * drop + slack
            is_short = trial.value < start.value + (1 - c) * drop - slack
            return jnp.where(is_long, TOO_LONG, jnp.where(is_short, TOO_SHORT, ACCEPTED))

        return search(along, without_slope(along), judge, first_trial, max_trials)

    pair = searching(find, first_step, restarts=restarts)
    return keep_dtypes(optax.GradientTransformationExtraArgs(*pair))


def goldstein(
    step_size: chex.Numeric = 1.0, *, c: chex.Numeric = 0.25, max_trials: int = 60
) -> optax.GradientTransformationExtraArgs:
    """Steepest descent with Goldstein's line search.

    Parameters
    ----------
    step_size
        First trial of the first search; it may be wrong by many powers of ten.
    c, max_trials
        As in `scale_by_goldstein`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_goldstein`.

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 10.0], start=[1.0, 1.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.goldstein(1e-6), jax.random.key(0), num_steps=3)
    >>> bool((path.loss[1:] < path.loss[:-1]).all())
    True
    """
    return optax.chain(optax.scale(-1.0), scale_by_goldstein(step_size, c=c, max_trials=max_trials))
