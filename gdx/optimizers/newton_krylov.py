"""Newton's method without a Hessian: its direction by conjugate gradients on Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from gdx.optimizers.checking import check_at_least_zero, check_between, check_value_fn
from gdx.optimizers.dtypes import keep_dtypes
from gdx.trees import widest

if TYPE_CHECKING:
    import chex

LEAST_COSINE = 1e-8
"""Between direction and gradient; below it the direction does not descend enough to be one."""


class NewtonCGState(NamedTuple):
    """What the method remembers and says of its last step."""

    first_norm: jax.Array
    """Of the first finite gradient; 0 before."""
    fell_back: jax.Array
    """Whether the last update followed the gradient for want of a better direction; bool."""
    failed: jax.Array
    """Whether the last gradient, or every direction from it, was not finite, and the update therefore zero; bool."""


def scale_by_newton_cg(
    *, rtol: chex.Numeric = 0.5, max_iterations: int = 100, damping: chex.Numeric = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Multiply the gradient by the Hessian's inverse, as far as conjugate gradients take it.

    (H + damping I) p = g is solved to a relative residual of min(rtol, |g| / |g0|), where g0 is the first gradient:
    loosely far from the minimum, and near it closely enough for the error to be squared at every step.

    Indefinite Hessians: the iteration stops in front of the first direction along which the loss does not curve
    upwards, and what it has by then is the direction. Where that is nothing yet, is not finite, has p.Hp <= 0, or
    makes an angle with the gradient whose cosine is 1e-8 or less, the update follows the gradient instead, as
    g |g| / |Hg|: an eigenvector of the Hessian is divided by its absolute eigenvalue.

    Parameters
    ----------
    rtol
        Largest relative residual, in (0, 1).
    max_iterations
        Hessian-vector products that an update may spend.
    damping
        Added to the Hessian's diagonal, at least 0, in its units.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its `update` takes `value_fn=` and `params`; what comes in as updates is taken for the gradient. What comes out
        points uphill, as the gradient does: a line search behind it wants the sign in between,
        `optax.chain(scale_by_newton_cg(), optax.scale(-1.0), scale_by_wolfe(restarts=True))`, and without it fails in
        every step and stands still for ever.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked. On update, if `value_fn` or the parameters
        are missing.

    Notes
    -----
    Memory is some eight copies of the parameters. The loss is evaluated on the parameters in float32 or wider, also
    where they are bfloat16.

    Sources: Dembo, Eisenstat & Steihaug, "Inexact Newton Methods", 1982, for the residual; Nocedal & Wright,
    Numerical Optimization, algorithm 7.1, for the stop at negative curvature. They take the gradient at its own
    length and a line search; the length here is gdx's, since there is none.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: 5.0 * jnp.sum(w**2), jnp.ones(2)
    >>> method = gdx.optimizers.scale_by_newton_cg()
    >>> updates, state = method.update(jax.grad(loss)(w), method.init(w), w, value_fn=loss)
    >>> updates.round(6)  # the gradient over the curvature
    Array([1., 1.], dtype=float64)
    """
    check_between("rtol", rtol, 0, 1, "the usual value is 0.5")
    check_at_least_zero("damping", damping)
    if max_iterations < 1:
        raise ValueError(f"max_iterations: {max_iterations} is below 1; allow at least one product")

    def init_fn(params):
        return NewtonCGState(jnp.zeros((), widest(params)), jnp.zeros((), bool), jnp.zeros((), bool))

    def update_fn(updates, state, params=None, *, value_fn: Any = None, **extra_args):
        del extra_args
        check_value_fn(value_fn, params, "Newton's method needs the loss's Hessian")
        # One vector, since jax's cg on a pytree fails under vmap where its leaves are batched along different axes.
        g, unravel = ravel_pytree(optax.tree.cast(updates, widest(params)))
        norm = jnp.linalg.norm(g)
        is_finite = jnp.isfinite(norm)
        first_norm = jnp.where((state.first_norm == 0) & is_finite, norm, state.first_norm)
        tolerance = jnp.minimum(rtol, norm / jnp.where(first_norm > 0, first_norm, 1.0))

        p, fell_back = _direction(_damped_product(value_fn, params, damping), g, norm, tolerance, max_iterations)
        failed = ~(is_finite & jnp.all(jnp.isfinite(p)))
        return unravel(jnp.where(failed, 0.0, p)), NewtonCGState(first_norm, fell_back & ~failed, failed)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def newton_cg(
    step_size: optax.ScalarOrSchedule = 1.0,
    *,
    rtol: chex.Numeric = 0.5,
    max_iterations: int = 100,
    damping: chex.Numeric = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Newton's method by conjugate gradients, for parameters too many for a Hessian; without a search.

    Parameters
    ----------
    step_size
        Share of the step that is taken, a number or a schedule: 1 is Newton's.
    rtol, max_iterations, damping
        As in `scale_by_newton_cg`, which says what becomes of indefinite Hessians.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_newton_cg`.

    Examples
    --------
    >>> import jax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 10.0], start=[1.0, 1.0])
    >>> path = gdx.trajectory(bowl, gdx.optimizers.newton_cg(rtol=1e-3), jax.random.key(0), num_steps=2)
    >>> bool(path.loss[-1] < 1e-9)
    True
    """
    direction = scale_by_newton_cg(rtol=rtol, max_iterations=max_iterations, damping=damping)
    return keep_dtypes(optax.chain(direction, optax.scale_by_learning_rate(step_size)))


def _damped_product(value_fn: Any, params: Any, damping: Any) -> Callable[[jax.Array], jax.Array]:
    """Make the product of the damped Hessian with a vector."""
    dtype = widest(params)
    flat, unravel = ravel_pytree(optax.tree.cast(params, dtype))
    gradient = jax.grad(lambda vector: value_fn(unravel(vector)).astype(dtype))
    # Differentiated once, outside the iteration: a product is then linear algebra alone.
    _, tangent = jax.linearize(gradient, flat)

    def product(vector):
        return (tangent(vector) + damping * vector).astype(dtype)

    return product


def _direction(product, g, norm, tolerance, max_iterations):
    """Solve, or fall back to the gradient: the direction, and whether it is the gradient's."""

    def guarded(vector):
        # jax's cg neither reports negative curvature nor stops at it. An infinite product makes the step along the
        # vector 0 and the residual NaN, and ends the iteration with what it has.
        image = product(vector)
        curves = (jnp.vdot(vector, image) > 0) | jnp.all(vector == 0)
        return jnp.where(curves, image, jnp.where(vector == 0, 0.0, jnp.copysign(jnp.inf, vector)))

    p, _ = cg(guarded, g, tol=tolerance, maxiter=max_iterations)
    descends = (jnp.vdot(p, g) > LEAST_COSINE * jnp.linalg.norm(p) * norm) & (jnp.vdot(p, product(p)) > 0)
    fell_back = (norm > 0) & ~descends

    bend = jnp.linalg.norm(product(g))
    length = jnp.where(bend > 0, norm / jnp.where(bend > 0, bend, 1.0), 1.0)
    return jnp.where(fell_back, length * g, p), fell_back
