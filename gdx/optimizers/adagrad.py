"""AdaGrad as its paper has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.optimizers.checking import check_at_least_zero
from gdx.optimizers.dtypes import keep_dtypes

if TYPE_CHECKING:
    import chex


class TextbookAdagradState(NamedTuple):
    """What AdaGrad remembers."""

    sum_of_squares: chex.ArrayTree
    """Of all gradients so far, shaped as the parameters."""


def scale_by_textbook_adagrad(eps: chex.Numeric = 1e-8) -> optax.GradientTransformationExtraArgs:
    """Divide each gradient by the root of the sum of its squares so far.

        s' = s + g^2
        u  = g / (sqrt(s') + eps)

    Parameters
    ----------
    eps
        Added outside the root, at least 0. With 0 an entry without any gradient yet has the update 0.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If a concrete `eps` is negative; a traced one cannot be checked.

    Notes
    -----
    Differs from `optax.scale_by_rss` in where eps stands and in the sum's start, here 0: the first update is the sign
    of the gradient. In bfloat16 the sum stops growing when one square is below 1/256 of it.

    Source: Duchi, Hazan & Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    JMLR 12, 2011, https://jmlr.org/papers/v12/duchi11a.html, with their delta as eps.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> method, w = gdx.optimizers.scale_by_textbook_adagrad(), jnp.ones(1)
    >>> state = method.init(w)
    >>> for gradient in (3.0, 4.0):
    ...     updates, state = method.update(jnp.array([gradient]), state)
    ...     print(updates.round(6))  # 3/3, 4/5
    [1.]
    [0.8]
    """
    check_at_least_zero("eps", eps, "the usual value is 1e-8")

    def init_fn(params):
        return TextbookAdagradState(optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        sums = jax.tree.map(lambda s, g: s + g**2, state.sum_of_squares, updates)

        def scale(gradient, total):
            denominator = jnp.sqrt(total) + eps
            is_zero = denominator == 0
            return jnp.where(is_zero, 0.0, gradient / jnp.where(is_zero, 1.0, denominator))

        return jax.tree.map(scale, updates, sums), TextbookAdagradState(sums)

    return keep_dtypes(optax.GradientTransformationExtraArgs(init_fn, update_fn))


def textbook_adagrad(
    step_size: optax.ScalarOrSchedule, eps: chex.Numeric = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad with eps outside the root and a sum of squares from 0.

    On a quadratic it settles at any step size, however large: the sum grows until the steps are short enough.

    Parameters
    ----------
    step_size
        A number or a schedule; the length of the first step in every entry.
    eps
        As in `scale_by_textbook_adagrad`.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        As `scale_by_textbook_adagrad`.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> method, w = gdx.optimizers.textbook_adagrad(0.1), jnp.ones(1)
    >>> state = method.init(w)
    >>> for gradient in (3.0, 4.0):
    ...     updates, state = method.update(jnp.array([gradient]), state, w)
    ...     print(updates.round(6))
    [-0.1]
    [-0.08]
    """
    return keep_dtypes(optax.chain(scale_by_textbook_adagrad(eps), optax.scale_by_learning_rate(step_size)))
