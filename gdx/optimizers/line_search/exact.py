"""The exact line search, and steepest descent as Cauchy meant it."""

from __future__ import annotations

import optax

from gdx.optimizers.dtypes import keep_dtypes
from gdx.optimizers.line_search.bracketing import minimise_along
from gdx.optimizers.line_search.searching import searching


def scale_by_exact_search(
    *, tolerance: float | None = None, max_trials: int = 60
) -> optax.GradientTransformationExtraArgs:
    """Scale a direction of descent so that the loss is least along it.

    On a quadratic the step is the closed form -g.p / (p.H p) from one Hessian-vector product, and one look at the slope
    there confirms it. Elsewhere that step is the first trial of a safeguarded Newton's method on the slope, which keeps
    a bracket and never ends above the start.

    Parameters
    ----------
    tolerance
        Slope at the end relative to the first; by default the 2/3 power of the machine precision.
    max_trials
        Evaluations of the loss, its slope and its curvature along the line after which a search gives up.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=` and, where the caller has them, `value=` and `grad=`, as optax's searches do.

    Raises
    ------
    ValueError
        On update, if `value_fn` is missing.

    Notes
    -----
    On failure (an update that does not descend, as one without its minus sign, a loss unbounded below along the line,
    no level point within `max_trials`) the update is the lowest trial, zero if none was lower, and the state's `failed`
    says so. With several minima along the line it finds one that is not above the start, which need not be the lowest.

    Source: Cauchy, "Methode generale pour la resolution des systemes d'equations simultanees", 1847; Nocedal & Wright,
    Numerical Optimization, section 3.3.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: 5.0 * jnp.sum(w**2), jnp.ones(1)
    >>> method, gradient = gdx.optimizers.scale_by_exact_search(), jax.grad(loss)(w)
    >>> method.update(-gradient, method.init(w), w, value=loss(w), grad=gradient, value_fn=loss)[0].round(6)
    Array([-1.], dtype=float64)
    """
    pair = searching(lambda along, first_trial: minimise_along(along, first_trial, max_trials, tolerance), 1.0)
    return keep_dtypes(optax.GradientTransformationExtraArgs(*pair))


def steepest_descent(
    step_size: optax.ScalarOrSchedule = 1.0, *, tolerance: float | None = None, max_trials: int = 60
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with the exact line search.

    Successive directions are orthogonal, so on an elongated bowl it zigzags: from the worst start each step leaves
    ((L - m) / (L + m))^2 of the loss, no better than the best fixed step.

    Parameters
    ----------
    step_size
        Share of the exact step that is taken, a number or a schedule: 1 is exact, and on a quadratic every share in
        (0, 2) converges.
    tolerance, max_trials
        As in `scale_by_exact_search`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 10.0], start=[10.0, 1.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.steepest_descent(), jax.random.key(0), num_steps=3)
    >>> (path.loss[1:] / path.loss[:-1]).round(6)  # from the worst start, (9 / 11)^2 at every step
    Array([0.669421, 0.669421, 0.669421], dtype=float64)
    """
    exact = scale_by_exact_search(tolerance=tolerance, max_trials=max_trials)
    return keep_dtypes(optax.chain(optax.scale(-1.0), exact, optax.scale_by_learning_rate(step_size, flip_sign=False)))
