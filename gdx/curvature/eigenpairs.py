"""The largest Hessian eigenvalues of a loss, from Hessian-vector products alone."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gdx.checks import check_count, own_rules
from gdx.curvature.inputs import (
    check_batches,
    check_not_zero,
    check_rtol,
    check_scalar_loss,
    clamped,
    like_params,
    preconditioner_like,
    widened,
)
from gdx.curvature.lanczos import COMPLETE_SIZE, RitzPairs, largest_eigenpairs
from gdx.curvature.products import (
    check_finite_products,
    hessian_product,
    mean_loss,
    twice_differentiable,
)
from gdx.records import legend, record
from gdx.trees import all_finite, flatten, unflatten, unit

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float, Int8, Int32

NUM_ITERS = 1000
"""Products that may be spent where nothing is said and there are more parameters than fit in a complete basis."""
RANDOM_SHARE = 0.3
"""Length of the random vector added to a unit start."""
WARM_PRODUCTS = 8
"""Products before a small residual is believed where a start was given."""


@legend
class EigenStatus(enum.IntEnum):
    """How a search for eigenvalues ended.

    Examples
    --------
    Continues the example of `gdx.sharpness`.

    >>> gdx.EigenStatus(int(found.status)).name
    'CONVERGED'
    """

    CONVERGED = 0
    """Every residual is below `rtol` times its value, or below rounding of the largest product."""
    NOT_CONVERGED = 1
    """`num_iters` products were not enough; values and residuals are those reached."""
    NONFINITE = 2
    """Parameters, loss or second derivatives are not finite; values are NaN."""
    UNCONFIRMED = 3
    """Every residual is small, but `num_iters` products were not enough to make sure that no larger or repeated
    eigenvalue is missing: what is there are eigenvalues, and one that belongs between them may not be."""


@record
class Sharpness(NamedTuple):
    """One extreme Hessian eigenvalue and how well it is known.

    Examples
    --------
    Continues the example of `gdx.sharpness`.

    >>> abs(found.vector).round(6), bool(found.residual < 1e-5)
    (Array([0., 0., 1.], dtype=float64), True)
    """

    value: Float[Array, ""]
    """Ritz value; up to rounding a lower bound of the largest eigenvalue, an upper bound of the smallest."""
    residual: Float[Array, ""]
    """Norm of H v - value v: some eigenvalue lies this close to the value."""
    vector: chex.ArrayTree
    """The unit Ritz vector v, shaped as the parameters, float32 where those are narrower; its sign is arbitrary."""
    num_products: Int32[Array, ""]
    """Hessian-vector products used."""
    status: Int8[Array, ""]
    """`EigenStatus` code."""


@record
class Eigenpairs(NamedTuple):
    """The k largest Hessian eigenvalues and how well they are known.

    Examples
    --------
    Continues the example of `gdx.top_eigenpairs`.

    >>> abs(found.vectors).round(6)
    Array([[0., 0., 1.],
           [0., 1., 0.]], dtype=float64)
    >>> bool(found.residuals.max() < 1e-5)
    True
    """

    values: Float[Array, " k"]
    """Descending, repeated ones as often as they occur."""
    residuals: Float[Array, " k"]
    """Bounds of the norm of H v - value v, up to rounding."""
    vectors: chex.ArrayTree
    """Orthonormal, shaped as the parameters behind a leading axis [k] on every leaf."""
    num_products: Int32[Array, ""]
    """Hessian-vector products used."""
    status: Int8[Array, ""]
    """`EigenStatus` code, for all of them together."""


@own_rules()
def sharpness(
    loss: Callable[..., jax.Array],
    params: chex.ArrayTree,
    *,
    batches: Any = None,
    key: chex.PRNGKey | None = None,
    rtol: chex.Numeric = 1e-6,
    num_iters: int | None = None,
    start: chex.ArrayTree | None = None,
    preconditioner: Any = None,
    which: Literal["largest", "smallest"] = "largest",
) -> Sharpness:
    """Largest (most positive) or smallest Hessian eigenvalue, by Lanczos with full reorthogonalisation.

    Stops when the residual is below `rtol` times the value, or after `num_iters` products; `status` says which. jit and
    vmap work; called often, it should be inside of a jitted function, since every call from outside compiles anew.
    Memory is some forty vectors of D numbers. Not for losses without second derivatives, see `one_step_edge`, nor for
    those that differ from call to call: all products must be with the same matrix.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`, or `loss(params, batch) -> scalar` with `batches`; twice differentiable.
    params
        Pytree of floating arrays, D numbers in all.
    batches
        Pytree of arrays [K, ...], K batches. The loss meant is the mean over them, every batch alike; they are gone
        through one after another, so that the memory is that of one.
    key
        Draws the random first vector; by default `jax.random.key(0)`.
    rtol
        Residual wanted, relative to the value, in [0, 1). Never less than 16 eps times the largest product is asked
        for, so that it can be met where the eigenvalue is small beside others; 0 means that.
    num_iters
        Most products spent; by default D up to 64 parameters and 1000 beyond. More than D are not made, with a warning.
    start
        Where to begin, shaped as the parameters: the vector of a matrix nearby, say. A random vector is mixed in and at
        least 8 products are made, so that one which is an eigenvector already does not hide a larger value.
    preconditioner
        Diagonal of P > 0, a number or shaped as the parameters. Eigenvalues are then those of P^-1/2 H P^-1/2, which
        are those of P^-1 H. `vector` is the eigenvector of that symmetric matrix; the one of P^-1 H is P^-1/2 times it.
    which
        "largest", or "smallest" for the most negative curvature.

    Returns
    -------
    Sharpness

    Raises
    ------
    ValueError
        If an argument is out of range or does not fit the parameters, or the loss is not scalar or cannot be
        differentiated twice. Outside of transformations also if parameters or products are not finite; inside, `status`
        says so.

    Notes
    -----
    Lanczos with thick restarts, see `gdx.curvature.lanczos`; up to 64 parameters without any. A residual says
    that an eigenvalue is near, not that it is the largest: in exact arithmetic a random first vector misses that with
    probability zero, and in practice at a loose `rtol` where two large eigenvalues are close.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> loss = lambda w: 0.5 * jnp.sum(jnp.array([1.0, 3.0, 10.0]) * w**2)
    >>> found = gdx.sharpness(loss, jnp.ones(3))
    >>> round(float(found.value), 6)
    10.0
    """
    if which not in ("largest", "smallest"):
        raise ValueError(f'which: {which!r} is neither "largest" nor "smallest"; pass one of them')
    sign = 1.0 if which == "largest" else -1.0
    params = widened(params)
    found = _search(loss, params, 1, sign, batches, key, rtol, num_iters, start, preconditioner)
    vector = unflatten(found.vectors[0], params)
    return Sharpness(sign * found.values[0], found.residuals[0], vector, found.num_products, _status(found))


@own_rules()
def top_eigenpairs(
    loss: Callable[..., jax.Array],
    params: chex.ArrayTree,
    k: int,
    *,
    batches: Any = None,
    key: chex.PRNGKey | None = None,
    rtol: chex.Numeric = 1e-6,
    num_iters: int | None = None,
    start: chex.ArrayTree | None = None,
    preconditioner: Any = None,
) -> Eigenpairs:
    """Find the k largest (most positive) Hessian eigenvalues and their vectors, repeated ones included.

    As `sharpness` for k eigenvalues at once; memory is some 4 k + 50 vectors of D numbers. Not for a sizeable part of
    the spectrum of a small problem: there `jnp.linalg.eigh(jax.hessian(loss)(params))` is quicker.

    Parameters
    ----------
    loss, params, batches, key, rtol, start, preconditioner
        As `sharpness`.
    k
        How many, 1 to D.
    num_iters
        Most products spent, at least k; by default D up to 64 parameters, and beyond 1000 or 30 k if that is more. More
        than D are not made, with a warning.

    Returns
    -------
    Eigenpairs

    Raises
    ------
    ValueError
        As `sharpness`, and if k is not in [1, D].

    Notes
    -----
    A Krylov space sees one vector of every eigenspace. Up to 64 parameters all D products are made and nothing can be
    missed. Beyond, fresh random vectors orthogonal to what was found look for more, each until it has found something
    or the chance that anything is missing, by more than the tolerance, is below one in a million, in exact arithmetic;
    that takes some 30 products where the last value wanted stands clear of the next, several hundred where both are in
    a crowd. `EigenStatus.UNCONFIRMED` says that the products ran out before. An eigenvalue of m copies takes m such
    vectors.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> loss = lambda w: 0.5 * jnp.sum(jnp.array([1.0, 3.0, 10.0]) * w**2)
    >>> found = gdx.top_eigenpairs(loss, jnp.ones(3), 2)
    >>> [round(float(value), 6) for value in found.values]
    [10.0, 3.0]
    """
    params = widened(params)
    size = flatten(params).size
    k = check_count("k", k, f"ask for 1 to {size} eigenvalues")
    if k > size:
        raise ValueError(f"k: {k} is above the number of parameters, {size}; ask for 1 to {size} eigenvalues")
    found = _search(loss, params, k, 1.0, batches, key, rtol, num_iters, start, preconditioner)
    vectors = jax.vmap(lambda vector: unflatten(vector, params))(found.vectors)
    return Eigenpairs(found.values, found.residuals, vectors, found.num_products, _status(found))


def _search(loss, params, k, sign, batches, key, rtol, num_iters, start, preconditioner) -> RitzPairs:
    """Check everything, then look for the largest eigenpairs of sign times the preconditioned Hessian."""
    check_rtol(rtol)
    check_batches(batches)
    check_scalar_loss(loss, params, batches)
    size = flatten(params).size
    if num_iters is None:
        num_iters = size if size <= COMPLETE_SIZE else max(NUM_ITERS, 30 * k)
    else:
        num_iters = clamped(check_count("num_iters", num_iters, "allow at least a product per eigenvalue", k), size)
    product = _flat_product(loss, params, sign, batches, preconditioner)
    key = jax.random.key(0) if key is None else key
    first = _first(key, params, start)
    least = 0 if start is None else min(WARM_PRODUCTS, num_iters)
    twice_differentiable(product, first)
    found = largest_eigenpairs(product, first, key, k=k, num_iters=num_iters, rtol=rtol, least_products=least)
    # Of NaN parameters or a logarithm beyond its end the second derivatives may be finite, but mean nothing.
    is_finite = found.is_finite & all_finite(params) & jnp.isfinite(mean_loss(loss, params, batches))
    check_finite_products(loss, params, batches, is_finite)
    return found._replace(values=jnp.where(is_finite, found.values, jnp.nan), is_finite=is_finite)


def _flat_product(loss, params, sign, batches, preconditioner):
    product = hessian_product(loss, params, batches)
    if preconditioner is None:
        return lambda vector: sign * flatten(product(unflatten(vector, params)))
    scale = 1.0 / jnp.sqrt(flatten(preconditioner_like(preconditioner, params)))
    return lambda vector: sign * scale * flatten(product(unflatten(scale * vector, params)))


def _first(key, params, start):
    """A start with something random mixed in, or zeros for a random one."""
    if start is None:
        return jnp.zeros_like(flatten(params))
    start = like_params("start", start, params)
    check_not_zero("start", start)
    start = unit(flatten(start))
    return unit(start + RANDOM_SHARE * unit(jax.random.normal(key, start.shape, start.dtype)))


def _status(found):
    sure = jnp.where(found.is_confirmed, EigenStatus.CONVERGED, EigenStatus.UNCONFIRMED)
    late = jnp.where(found.is_converged, sure, EigenStatus.NOT_CONVERGED)
    return jnp.where(found.is_finite, late, EigenStatus.NONFINITE).astype(jnp.int8)
