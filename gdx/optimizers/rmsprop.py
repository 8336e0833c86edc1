"""RMSProp with eps outside the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optax

from gdx.optimizers.checking import check_at_least_zero, check_coefficient
from gdx.optimizers.dtypes import keep_dtypes

if TYPE_CHECKING:
    import chex


def textbook_rmsprop(
    step_size: optax.ScalarOrSchedule, decay: chex.Numeric = 0.9, eps: chex.Numeric = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """Divide each gradient by its running root mean square.

        s' = b s + (1 - b) g^2
        x' = x - a g / (sqrt(s') + eps)

    This is `optax.rmsprop` with eps outside the root and a mean from 0: the first step is a / sqrt(1 - b) long in
    every entry. With a constant step size it ends in a cycle of length about a, not in a point.

    Parameters
    ----------
    step_size
        a, a number or a schedule.
    decay
        b, in [0, 1).
    eps
        Added outside the root, at least 0. With 0 an entry that never had a gradient is 0/0, NaN.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.

    Notes
    -----
    Source: Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012, which has no eps.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> method, w = gdx.optimizers.textbook_rmsprop(0.1, decay=0.75), jnp.ones(1)
    >>> method.update(jnp.array([3.0]), method.init(w), w)[0].round(6)  # 0.1 / sqrt(1 - 0.75)
    Array([-0.2], dtype=float64)
    """
    check_coefficient("decay", decay)
    check_at_least_zero("eps", eps, "the usual value is 1e-8")
    return keep_dtypes(optax.rmsprop(step_size, decay=decay, eps=eps, eps_in_sqrt=False, initial_scale=0.0))
