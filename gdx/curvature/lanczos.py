"""The largest Hessian eigenvalue of a loss, from Hessian-vector products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

if TYPE_CHECKING:
    import chex


class Sharpness(NamedTuple):
    """Largest Hessian eigenvalue and how well it is known."""

    value: jax.Array
    """Ritz value, a number; a lower bound of the largest eigenvalue up to rounding."""
    residual: jax.Array
    """Norm of H v - value v: some eigenvalue lies this close to the value."""
    vector: chex.ArrayTree
    """The unit Ritz vector v, shaped as the parameters."""
    num_products: jax.Array
    """Hessian-vector products used."""


def hvp(loss: Callable[[chex.ArrayTree], jax.Array], params: chex.ArrayTree, vector: chex.ArrayTree) -> chex.ArrayTree:
    """Multiply the Hessian of a loss by a vector, forward over reverse.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`, twice differentiable at `params`.
    params, vector
        Pytrees of the same structure and shapes.

    Returns
    -------
    pytree
        H(params) vector, shaped as the parameters; about the price of two gradients.
    """
    return jax.jvp(jax.grad(loss), (params,), (vector,))[1]


def sharpness(
    loss: Callable[[chex.ArrayTree], jax.Array],
    params: chex.ArrayTree,
    *,
    key: chex.PRNGKey | None = None,
    rtol: float = 1e-6,
    num_iters: int = 64,
) -> Sharpness:
    """Largest (most positive) Hessian eigenvalue, by Lanczos with full reorthogonalisation.

    Stops when the residual is below `rtol` times the value, or after `num_iters` products; the residual says
    which. jit and vmap work. Memory is `num_iters` parameter vectors.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`, twice differentiable.
    params
        Pytree of floating arrays, D numbers in all.
    key
        Draws the first vector; by default `jax.random.key(0)`.
    rtol
        Residual wanted, relative to the value.
    num_iters
        Most products spent; more than D are never needed and never made.

    Returns
    -------
    Sharpness

    Raises
    ------
    ValueError
        If `num_iters` is below 1.

    Notes
    -----
    Golub & Van Loan, Matrix Computations, chapter 10. The basis is orthogonalised twice against all earlier
    vectors, since a single pass loses orthogonality as soon as a Ritz value converges.
    """
    if num_iters < 1:
        raise ValueError(f"num_iters: {num_iters} is below 1; allow at least one product")
    flat, unravel = ravel_pytree(params)
    num_iters = min(num_iters, flat.size)
    first = jax.random.normal(jax.random.key(0) if key is None else key, flat.shape, flat.dtype)

    def product(vector):
        return ravel_pytree(hvp(loss, params, unravel(vector)))[0]

    value, residual, vector, count = _lanczos(product, first, num_iters, rtol)
    return Sharpness(value, residual, unravel(vector), count)


def _lanczos(product, first, num_iters, rtol):
    """Largest Ritz pair of a symmetric product; a while loop, so that easy spectra stop early."""

    class Carry(NamedTuple):
        basis: jax.Array  # [num_iters, D], orthonormal rows, zeros below row `used`
        tridiagonal: jax.Array  # [num_iters, num_iters]
        following: jax.Array  # [D], the next basis vector
        used: jax.Array
        value: jax.Array
        weights: jax.Array  # [num_iters], the Ritz vector in the basis
        residual: jax.Array

    def step(carry):
        count = carry.used
        basis = carry.basis.at[count].set(carry.following)
        image = product(carry.following)
        diagonal = image @ carry.following
        rest = image - basis.T @ (basis @ image)
        rest = rest - basis.T @ (basis @ rest)
        beta = jnp.linalg.norm(rest)
        tridiagonal = carry.tridiagonal.at[count, count].set(diagonal)
        value, weights = _largest_pair(tridiagonal, count)
        residual = beta * jnp.abs(weights[count])
        beyond = jnp.minimum(count + 1, num_iters - 1)
        coupling = jnp.where(beyond > count, beta, 0.0)
        extended = tridiagonal.at[count, beyond].add(coupling).at[beyond, count].add(coupling)
        following = rest / jnp.where(beta > 0, beta, 1.0)
        return Carry(basis, extended, following, count + 1, value, weights, residual)

    def unfinished(carry):
        enough = carry.residual <= rtol * jnp.abs(carry.value)
        return (carry.used == 0) | ((carry.used < num_iters) & ~enough & jnp.isfinite(carry.residual))

    size, zero = first.size, jnp.zeros((), first.dtype)
    start = Carry(
        jnp.zeros((num_iters, size), first.dtype),
        jnp.zeros((num_iters, num_iters), first.dtype),
        first / jnp.linalg.norm(first),
        jnp.zeros((), jnp.int32),
        zero,
        jnp.zeros(num_iters, first.dtype),
        zero + jnp.inf,
    )
    end = jax.lax.while_loop(unfinished, step, start)
    return end.value, end.residual, end.basis.T @ end.weights, end.used


def _largest_pair(tridiagonal, count):
    """Largest eigenpair of the leading block, the rest pushed below every eigenvalue of it."""
    rows = jnp.arange(tridiagonal.shape[0])
    used = rows <= count
    bound = 1.0 + 2.0 * jnp.max(jnp.sum(jnp.abs(tridiagonal), axis=1))
    block = jnp.where(used[:, None] & used[None, :], tridiagonal, 0.0)
    block = block + jnp.diag(jnp.where(used, 0.0, -bound))
    values, vectors = jnp.linalg.eigh(block)
    return values[-1], vectors[:, -1]
