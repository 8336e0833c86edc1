"""Momentum as a running mean of the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optax

from gdx.optimizers.checking import check_coefficient
from gdx.optimizers.dtypes import keep_dtypes

if TYPE_CHECKING:
    import chex


def ema_momentum(
    step_size: optax.ScalarOrSchedule, momentum: chex.Numeric = 0.9, debias: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Step along the exponential moving average of the gradients.

        m' = b m + (1 - b) g
        x' = x - a m'

    The weights of all gradients add up to 1. Heavy ball (`optax.sgd(momentum=b)`) gives each gradient 1 / (1 - b) of
    the weight that it has here, so this is heavy ball at step size (1 - b) a, as long as both are constant.

    Parameters
    ----------
    step_size
        a, a number or a schedule.
    momentum
        b, in [0, 1).
    debias
        Whether to divide by 1 - b^t, as Adam does, so that the first average is the first gradient.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If a concrete momentum is outside [0, 1); a traced one cannot be checked.

    Examples
    --------
    >>> import jax.numpy as jnp, optax, gdx
    >>> method, w = gdx.optimizers.ema_momentum(1.0, momentum=0.5), jnp.ones(1)
    >>> state = method.init(w)
    >>> for gradient in (1.0, 0.0):
    ...     updates, state = method.update(jnp.array([gradient]), state, w)
    ...     print(updates)
    [-0.5]
    [-0.25]
    """
    check_coefficient("momentum", momentum)
    return keep_dtypes(optax.chain(optax.ema(momentum, debias=debias), optax.scale_by_learning_rate(step_size)))
