"""A line search for Wolfe's two conditions: enough decrease, and a slope that has flattened enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import optax
from jax.core import Tracer

from gdx.optimizers.checking import check_between, check_positive
from gdx.optimizers.dtypes import keep_dtypes
from gdx.optimizers.line_search.bracketing import ACCEPTED, TOO_LONG, TOO_SHORT, search
from gdx.optimizers.line_search.line import with_slope
from gdx.optimizers.line_search.searching import searching

if TYPE_CHECKING:
    import chex


def scale_by_wolfe(
    first_step: chex.Numeric = 1.0,
    *,
    c1: chex.Numeric = 1e-4,
    c2: chex.Numeric = 0.9,
    max_trials: int = 60,
    restarts: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Scale a direction of descent so that the (weak) Wolfe conditions hold.

    A step a along the direction p is accepted when

        f(x + a p)  <=  f(x) + c1 a g.p        (sufficient decrease, Armijo's condition)
        grad f(x + a p).p  >=  c2 g.p          (curvature)

    the first up to four rounding errors of the loss. A step that fails the first is too long, one that fails the second
    too short, so a bracket always closes on a smooth loss that is bounded below. For the strong conditions (the slope
    small in absolute value) use `optax.scale_by_zoom_linesearch`.

    Parameters
    ----------
    first_step
        First trial of the first search, above 0; each later search begins with the step accepted last.
    c1, c2
        0 < c1 < c2 < 1; 0.9 suits Newton and quasi-Newton directions, 0.1 conjugate gradients.
    max_trials
        Evaluations of the loss and its slope after which a search gives up.
    restarts
        Whether every search begins with `first_step`, as suits directions of Newton's or L-BFGS's length.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=` and, where the caller has them, `value=` and `grad=`, as optax's searches do.

    Raises
    ------
    ValueError
        If a concrete number is out of range or out of order; traced ones cannot be checked. On update, if `value_fn` is
        missing.

    Notes
    -----
    On failure (an update that does not descend, as one without its minus sign, a loss unbounded below along the line,
    nothing acceptable within `max_trials`) the update is the lowest trial, zero if none was lower, and the state's
    `failed` says so.

    Source: Nocedal & Wright, Numerical Optimization, section 3.1; the bracket is that of Lewis & Overton, "Nonsmooth
    optimization via quasi-Newton methods", 2013, with interpolation between its bisections.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: 5.0 * jnp.sum(w**2), jnp.ones(1)
    >>> method, gradient = gdx.optimizers.scale_by_wolfe(), jax.grad(loss)(w)
    >>> updates, state = method.update(-gradient, method.init(w), w, value=loss(w), grad=gradient, value_fn=loss)
    >>> bool(loss(w + updates) < loss(w)), bool(0 < state.step_size < 0.2)
    (True, True)
    """
    check_positive("first_step", first_step)
    check_between("c1", c1, 0, 1)
    check_between("c2", c2, 0, 1)
    if not isinstance(c1, Tracer) and not isinstance(c2, Tracer) and not c1 < c2:
        raise ValueError(f"c1: {c1} is not below c2 = {c2}; pass 0 < c1 < c2 < 1, as in c1=1e-4, c2=0.9")

    def find(along, first_trial):
        start, slack = along.start, along.slack

        def judge(trial):
            is_long = trial.value > start.value + c1 * trial.step * start.slope + slack
            is_short = trial.slope < c2 * start.slope
            return jnp.where(is_long, TOO_LONG, jnp.where(is_short, TOO_SHORT, ACCEPTED))

        return search(along, with_slope(along), judge, first_trial, max_trials)

    pair = searching(find, first_step, restarts=restarts)
    return keep_dtypes(optax.GradientTransformationExtraArgs(*pair))


def wolfe(
    step_size: chex.Numeric = 1.0, *, c1: chex.Numeric = 1e-4, c2: chex.Numeric = 0.9, max_trials: int = 60
) -> optax.GradientTransformationExtraArgs:
    """Steepest descent with a line search for the (weak) Wolfe conditions.

    Parameters
    ----------
    step_size
        First trial of the first search; it may be wrong by many powers of ten.
    c1, c2, max_trials
        As in `scale_by_wolfe`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_wolfe`.

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 10.0], start=[1.0, 1.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.wolfe(1e6), jax.random.key(0), num_steps=3)
    >>> bool((path.loss[1:] < path.loss[:-1]).all())
    True
    """
    return optax.chain(optax.scale(-1.0), scale_by_wolfe(step_size, c1=c1, c2=c2, max_trials=max_trials))
