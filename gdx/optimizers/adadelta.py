"""Adadelta with eps outside both roots."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.optimizers.checking import check_at_least_zero, check_coefficient
from gdx.optimizers.dtypes import keep_dtypes

if TYPE_CHECKING:
    import chex


class TextbookAdadeltaState(NamedTuple):
    """What Adadelta remembers."""

    mean_square_gradient: chex.ArrayTree
    """Running mean, shaped as the parameters."""
    mean_square_update: chex.ArrayTree
    """Running mean of the updates before the step size, shaped as the parameters."""


def scale_by_textbook_adadelta(
    rho: chex.Numeric = 0.9, eps: chex.Numeric = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Scale each gradient by the ratio of the running sizes of updates and gradients.

        E[g^2]' = rho E[g^2] + (1 - rho) g^2
        u       = g (sqrt(E[u^2]) + eps) / (sqrt(E[g^2]') + eps)
        E[u^2]' = rho E[u^2] + (1 - rho) u^2

    Parameters
    ----------
    rho
        Weight of the past in both means, in [0, 1).
    eps
        Added outside both roots, at least 0; with 0 nothing ever moves.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.

    Notes
    -----
    Zeiler's paper has eps inside both roots, and so has `optax.adadelta`; outside is how later texts write it. It is
    not a detail. Both means start at 0, so that the first update is eps / sqrt(1 - rho) long in every entry, 3e-6
    with the defaults, where the paper's has sqrt(eps / (1 - rho)), 3e-3. Nothing but eps sets the scale from which
    the updates then grow: pass a larger one where this seems to stand still.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, https://arxiv.org/abs/1212.5701.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> method, w = gdx.optimizers.scale_by_textbook_adadelta(), jnp.ones(1)
    >>> updates, state = method.update(jnp.array([2.0]), method.init(w))
    >>> round(float(updates[0]) / 1e-6, 3)  # 2 eps / sqrt(0.1 * 4)
    3.162
    """
    check_coefficient("rho", rho)
    check_at_least_zero("eps", eps, "the usual value is 1e-6")

    def init_fn(params):
        return TextbookAdadeltaState(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        gradients = optax.tree.update_moment(updates, state.mean_square_gradient, rho, 2)

        def scale(gradient, mean_gradient, mean_update):
            denominator = jnp.sqrt(mean_gradient) + eps
            is_zero = denominator == 0
            ratio = (jnp.sqrt(mean_update) + eps) / jnp.where(is_zero, 1.0, denominator)
            return jnp.where(is_zero, 0.0, ratio * gradient)

        scaled = jax.tree.map(scale, updates, gradients, state.mean_square_update)
        means = optax.tree.update_moment(scaled, state.mean_square_update, rho, 2)
        return scaled, TextbookAdadeltaState(gradients, means)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def textbook_adadelta(
    step_size: optax.ScalarOrSchedule = 1.0, rho: chex.Numeric = 0.9, eps: chex.Numeric = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta with eps outside both roots and running means from 0.

    Parameters
    ----------
    step_size
        Factor of the update, a number or a schedule; 1 is the method as published.
    rho, eps
        As in `scale_by_textbook_adadelta`, whose notes say how it differs from the paper.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_textbook_adadelta`.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> method, w = gdx.optimizers.textbook_adadelta(), jnp.ones(1)
    >>> updates, state = method.update(jnp.array([2.0]), method.init(w), w)
    >>> round(float(updates[0]) / 1e-6, 3)  # begins with steps of some eps
    -3.162
    """
    return keep_dtypes(optax.chain(scale_by_textbook_adadelta(rho, eps), optax.scale_by_learning_rate(step_size)))
