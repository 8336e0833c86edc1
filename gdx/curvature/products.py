"""Products with the Hessian of a loss, over all of its batches, and parameters as flat vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.curvature.inputs import check_batches, check_scalar_loss, like_params, widened
from gdx.trees import all_finite

if TYPE_CHECKING:
    import chex


def hvp(
    loss: Callable[..., jax.Array], params: chex.ArrayTree, vector: chex.ArrayTree, *, batches: Any = None
) -> chex.ArrayTree:
    """Multiply the Hessian of a loss by a vector, forward over reverse.

    Assumes a loss that is twice differentiable at `params`: of one that is not, such as a ReLU network on a kink, this
    is the Hessian of the piece that JAX's derivative rules choose. `one_step_edge` asks for no derivatives.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`, or `loss(params, batch) -> scalar` with `batches`.
    params, vector
        Pytrees of the same structure and shapes, D floating numbers.
    batches
        Pytree of arrays [K, ...], K batches. The loss meant is the mean over them, every batch alike; they are gone
        through one after another, so that the memory is that of one.

    Returns
    -------
    pytree
        H(params) vector, shaped as the parameters, float32 where those are narrower; about the price of two gradients.

    Raises
    ------
    ValueError
        If parameters, vector, batches or loss do not fit together, if the loss cannot be differentiated twice, and,
        outside of transformations, where anything is not finite.

    Notes
    -----
    Pearlmutter, "Fast exact multiplication by the Hessian", 1994. Narrow parameters are widened to float32 before the
    loss is evaluated: a second derivative in bfloat16 is mostly rounding.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> loss = lambda w: w[0] ** 2 * w[1]
    >>> gdx.hvp(loss, jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))  # the first column of [[2 y, 2 x], [2 x, 0]]
    Array([4., 2.], dtype=float64)
    """
    params = widened(params)
    vector = like_params("vector", vector, params)
    check_batches(batches)
    check_scalar_loss(loss, params, batches)
    made = twice_differentiable(hessian_product(loss, params, batches), vector)(vector)
    check_finite_products(loss, params, batches, all_finite(made))
    return made


def hessian_product(
    loss: Callable[..., jax.Array], params: chex.ArrayTree, batches: Any
) -> Callable[[chex.ArrayTree], chex.ArrayTree]:
    """Make the function that multiplies the Hessian of a mean over batches by a vector.

    Parameters
    ----------
    loss, params, batches
        As `hvp`, checked.

    Returns
    -------
    callable
        `vector -> H vector`.
    """

    def product(vector):
        def of_batch(*batch):
            return jax.jvp(jax.grad(lambda params: loss(params, *batch)), (params,), (vector,))[1]

        return mean_over_batches(of_batch, batches)

    return product


def mean_loss(loss: Callable[..., jax.Array], params: chex.ArrayTree, batches: Any) -> jax.Array:
    """Evaluate a loss, as the mean over batches where there are any.

    Parameters
    ----------
    loss, params, batches
        As `hvp`, checked.

    Returns
    -------
    array
        A number.
    """
    return mean_over_batches(lambda *batch: loss(params, *batch), batches)


def mean_over_batches(function: Callable[..., Any], batches: Any) -> Any:
    """Average what a function makes of every batch, one batch after another.

    Derivatives are taken inside of the function, never through this loop, which would keep every batch in memory.

    Parameters
    ----------
    function
        `batch -> pytree of floating arrays`; of nothing where there are no batches.
    batches
        Pytree of arrays [K, ...], or None.

    Returns
    -------
    pytree
        The mean, in float32 or wider where there are batches.
    """
    count = check_batches(batches)
    if count is None:
        return function()

    def add(total, batch):
        return jax.tree.map(lambda t, m: t + m.astype(t.dtype), total, function(batch)), None

    shapes = jax.eval_shape(lambda batches: function(jax.tree.map(lambda x: x[0], batches)), batches)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, _wide(s.dtype)), shapes)
    return jax.tree.map(lambda total: total / count, jax.lax.scan(add, zeros, batches)[0])


def twice_differentiable(product: Callable[[Any], Any], vector: Any) -> Callable[[Any], Any]:
    """Return a product that is known to trace; a loss that refuses to be differentiated twice is told the way out.

    Parameters
    ----------
    product
        `vector -> H vector`, of a loss that has been found to evaluate.
    vector
        What it will be called with, or its shape.

    Returns
    -------
    callable
        The same product.

    Raises
    ------
    ValueError
        If tracing it fails.
    """
    try:
        traced = jax.make_jaxpr(product)(vector)
        # Forward mode through a custom_vjp is refused only when it is lowered, out of our sight.
        if _holds(traced.jaxpr, "custom_lin"):
            raise TypeError("forward-mode differentiation of a custom_vjp, which has none")
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(
            f"loss: it cannot be differentiated twice ({reason}); one_step_edge needs no derivative of it"
        ) from error
    return product


def check_finite_products(loss: Callable[..., jax.Array], params: chex.ArrayTree, batches: Any, finite: Any) -> None:
    """Refuse, where the verdict is concrete, a loss whose Hessian is not finite.

    Parameters
    ----------
    loss, params, batches
        As `hvp`, checked.
    finite
        Whether the products were; a traced one is left to the caller's status.

    Raises
    ------
    ValueError
        If they were not.
    """
    if isinstance(finite, Tracer) or bool(np.all(finite)):
        return
    value = mean_loss(loss, params, batches)
    if not np.isfinite(value):
        raise ValueError(f"loss: it is {value} at params, so there is no curvature; pass parameters where it is finite")
    raise ValueError(
        f"loss: it is {value} at params, but its second derivatives there are not finite; move params off the kink, "
        "or use one_step_edge, which needs no derivative"
    )


def _holds(jaxpr, name):
    """Whether a program, or one inside of it, applies a primitive."""
    inner = [
        getattr(part, "jaxpr", part)
        for equation in jaxpr.eqns
        for value in equation.params.values()
        for part in (value if isinstance(value, tuple | list) else [value])
        if hasattr(part, "eqns")
    ]
    return any(equation.primitive.name == name for equation in jaxpr.eqns) or any(_holds(part, name) for part in inner)


def _wide(dtype):
    return dtype if dtype == jnp.float64 else jnp.float32
