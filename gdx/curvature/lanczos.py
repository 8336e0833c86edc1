"""Thick-restart Lanczos: the largest eigenpairs of a symmetric product, in the memory of some forty vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gdx.curvature.products import safe_norm, unit

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Bool, Float, Int

COMPLETE_SIZE = 64
"""Up to this many dimensions the basis holds them all, and nothing is ever thrown away."""
BASIS_SIZE = 24
"""Vectors kept beyond that, where few eigenpairs are wanted; all are read four times a product, used or not."""
ROUNDING = 16
"""Residuals below this many eps times the operator's norm are rounding."""
NUM_PROBES = 8
"""Products spent, after several eigenpairs have converged, on a fresh vector that may hold a repeated eigenvalue."""


class Found(NamedTuple):
    """Eigenpairs and how well they are known."""

    values: Float[Array, " k"]
    """Descending."""
    residuals: Float[Array, " k"]
    vectors: Float[Array, "k D"]
    """Orthonormal rows."""
    num_products: Int[Array, ""]
    is_converged: Bool[Array, ""]
    is_finite: Bool[Array, ""]
    """Whether all products were."""


class Search(NamedTuple):
    """What the loop carries; `A basis' = basis' projected + following rest_norm e_last'` holds up to `dropped`."""

    basis: Float[Array, "m D"]
    """Orthonormal rows, zeros from row `used` on."""
    projected: Float[Array, "m m"]
    """basis A basis'."""
    following: Float[Array, " D"]
    """The next row, a unit vector orthogonal to all."""
    used: Int[Array, ""]
    num_products: Int[Array, ""]
    residuals: Float[Array, " k"]
    rest_norm: Float[Array, ""]
    """What the last product had outside of the basis."""
    norm: Float[Array, ""]
    """Largest norm of a product so far, a lower bound of the operator's."""
    dropped: Float[Array, ""]
    """Bound of the residual that was left behind with the old basis whenever a fresh vector came in."""
    probes: Int[Array, ""]
    """Products since a fresh vector came in to confirm the pairs, -1 while there is nothing to confirm."""
    is_enough: Bool[Array, ""]
    """Whether all residuals wanted are small."""
    is_finished: Bool[Array, ""]
    key: chex.PRNGKey


class Limits(NamedTuple):
    """When to stop; sizes are static."""

    k: int
    basis_size: int
    kept: int
    """Ritz vectors that a restart keeps."""
    least_products: int
    num_iters: int
    rtol: chex.Numeric


def largest_eigenpairs(
    product: Callable[[Float[Array, " D"]], Float[Array, " D"]],
    start: Float[Array, " D"],
    key: chex.PRNGKey,
    *,
    k: int,
    num_iters: int,
    rtol: chex.Numeric,
    least_products: int = 0,
) -> Found:
    """Find the k largest (most positive) eigenpairs of a symmetric operator.

    Parameters
    ----------
    product
        `vector -> A vector`, symmetric, [D] to [D].
    start
        Unit vector [D] with a component along everything that shall be found, so mixed with something random. Zeros
        stand for a random one.
    key
        Draws fresh vectors where the operator maps the basis into itself, the empty one included.
    k
        Pairs wanted, 1 to D.
    num_iters
        Most products spent, at least k.
    rtol
        Residual wanted, relative to each value.
    least_products
        Products before which a small residual is not believed.

    Returns
    -------
    Found

    Notes
    -----
    Wu & Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix Anal. Appl. 22,
    2000. Every product is orthogonalised twice against the whole basis, since a single pass loses orthogonality as soon
    as a Ritz value converges. The projected matrix is filled with the coefficients of that, so a restart is nothing but
    a rotation of the basis onto the Ritz vectors that are kept, and the next vector goes on as if nothing had happened.

    A Krylov space holds one vector of every eigenspace. So where several pairs are wanted, a fresh random vector
    orthogonal to the converged ones comes in, and they are believed when `NUM_PROBES` products with it have brought
    nothing larger: likely, not certain, unless the basis holds all D dimensions, which are then all gone through.
    """
    size = start.size
    basis_size = size if size <= COMPLETE_SIZE else min(size, max(BASIS_SIZE, 2 * k + 16))
    limits = Limits(k, basis_size, k + (basis_size - k) // 3, least_products, num_iters, rtol)
    is_complete = basis_size == size

    def step(search):
        return _step(product, search, limits, is_complete)

    def is_going_on(search):
        return ~search.is_finished & (search.num_products < num_iters) & jnp.isfinite(search.norm)

    def has_room(search):
        is_stuck = _is_breakdown(search) | (search.is_enough & (search.probes < 0) & (k > 1))
        return is_going_on(search) & (search.used < basis_size) & ~is_stuck

    def fill_and_restart(search):
        return _restart(jax.lax.while_loop(has_room, step, search), limits)

    def refresh_and_step(search):
        return step(_with_following(search, _is_breakdown(search)))

    body = refresh_and_step if is_complete else fill_and_restart
    search = jax.lax.while_loop(is_going_on, body, _empty(start, key, limits))
    values, weights = _top_pairs(search.projected, search.used, k)
    vectors = _dot(weights.T, search.basis)
    residuals, is_finite = search.residuals + search.dropped, jnp.isfinite(search.norm)
    is_converged = is_finite & jnp.all(residuals <= _tolerance(values, search.norm, rtol))
    return Found(values, residuals, vectors, search.num_products, is_converged, is_finite)


def _empty(start, key, limits):
    zero, size = jnp.zeros((), start.dtype), limits.basis_size
    return Search(
        basis=jnp.zeros((size, start.size), start.dtype),
        projected=jnp.zeros((size, size), start.dtype),
        following=start,
        used=jnp.zeros((), jnp.int32),
        num_products=jnp.zeros((), jnp.int32),
        residuals=jnp.full(limits.k, jnp.inf, start.dtype),
        # Without a start the empty basis is one that the operator maps into itself.
        rest_norm=jnp.where(jnp.any(start != 0), jnp.inf, zero),
        norm=zero,
        dropped=zero,
        probes=jnp.full((), -1, jnp.int32),
        is_enough=jnp.zeros((), bool),
        is_finished=jnp.zeros((), bool),
        key=key,
    )


def _step(product, search, limits, is_complete):
    """Multiply the next vector, take it into the basis, and look at the Ritz pairs."""
    row = search.used
    basis = search.basis.at[row].set(search.following)
    image = product(search.following)
    coefficients, rest = _orthogonalised(basis, image)
    projected = search.projected.at[row].set(coefficients).at[:, row].set(coefficients)
    rest_norm, norm = safe_norm(rest), jnp.maximum(search.norm, safe_norm(image))
    used, num_products = row + 1, search.num_products + 1
    values, weights = _top_pairs(projected, used, limits.k)
    residuals = rest_norm * jnp.abs(weights[row])
    is_all = used == search.following.size
    # A fresh vector leaves residuals behind, which add up; so they are made smaller than wanted.
    slack = 1.0 if is_complete or limits.k == 1 else 0.25
    is_small = jnp.all(residuals <= slack * _tolerance(values, norm, limits.rtol))
    is_enough = is_all | (is_small & (used >= limits.k) & (num_products >= limits.least_products))
    probes = jnp.where(is_enough & (search.probes >= 0), search.probes + 1, -1)
    is_confirmed = (limits.k == 1) | is_all | (jnp.asarray(not is_complete) & (probes >= NUM_PROBES))
    return search._replace(
        basis=basis,
        projected=projected,
        following=rest / jnp.where(rest_norm > 0, rest_norm, 1.0),
        used=used,
        num_products=num_products,
        residuals=residuals,
        rest_norm=rest_norm,
        norm=norm,
        probes=probes,
        is_enough=is_enough,
        is_finished=is_enough & is_confirmed,
    )


def _restart(search, limits):
    """Rotate the basis onto its largest Ritz vectors and forget the rest."""
    values, weights = _top_pairs(search.projected, search.used, limits.kept)
    confirms = search.is_enough & ~search.is_finished & (search.probes < 0) & (limits.k > 1)
    # Only converged pairs may stay beside a fresh vector: what the others lack lies along the vector it replaces.
    used = jnp.minimum(jnp.where(confirms, limits.k, limits.kept), search.used)
    stays = jnp.arange(limits.kept) < used
    rotated = jnp.where(stays[:, None], _dot(weights.T, search.basis), 0.0)
    left = safe_norm(search.rest_norm * weights[search.used - 1, : limits.k])
    diagonal = jnp.zeros(limits.basis_size, values.dtype).at[: limits.kept].set(jnp.where(stays, values, 0.0))
    search = search._replace(
        basis=search.basis.at[: limits.kept].set(rotated).at[limits.kept :].set(0.0),
        projected=jnp.diag(diagonal),
        used=used,
        dropped=search.dropped + jnp.where(confirms, left, 0.0),
        probes=jnp.where(confirms, 0, search.probes),
    )
    search = _with_following(search, (confirms | _is_breakdown(search)) & ~search.is_finished)
    # What the last product said has been used up.
    return search._replace(rest_norm=jnp.full_like(search.rest_norm, jnp.inf), is_enough=jnp.zeros((), bool))


def _with_following(search, is_fresh):
    """Go on with a random vector orthogonal to the basis, where that is due."""

    def fresh(_):
        key = jax.random.fold_in(search.key, search.num_products)
        vector = jax.random.normal(key, search.following.shape, search.following.dtype)
        for _ in range(2):
            vector = unit(_orthogonalised(search.basis, vector)[1])
        return vector

    return search._replace(following=jax.lax.cond(is_fresh, fresh, lambda following: following, search.following))


def _is_breakdown(search):
    """Whether the operator maps the basis into itself."""
    return search.rest_norm <= ROUNDING * jnp.finfo(search.norm.dtype).eps * search.norm


def _orthogonalised(basis, vector):
    """Coefficients along the rows of a basis, and the rest; two passes."""
    coefficients = _dot(basis, vector)
    rest = vector - _dot(coefficients, basis)
    correction = _dot(basis, rest)
    return coefficients + correction, rest - _dot(correction, basis)


def _top_pairs(projected, count, k):
    """Largest eigenpairs of the leading block, descending; what is unused is pushed below all of its eigenvalues."""
    is_used = jnp.arange(projected.shape[0]) < count
    block = jnp.where(is_used[:, None] & is_used[None, :], projected, 0.0)
    # In units of the block, so that tiny and huge curvatures keep their digits.
    bound = jnp.max(jnp.sum(jnp.abs(block), axis=1))
    scale = jnp.where(bound > 0, bound, 1.0)
    values, vectors = jnp.linalg.eigh(block / scale + jnp.diag(jnp.where(is_used, 0.0, -2.0).astype(block.dtype)))
    return scale * values[::-1][:k], vectors[:, ::-1][:, :k]


def _tolerance(values, norm, rtol):
    floor = ROUNDING * jnp.finfo(norm.dtype).eps * norm
    return jnp.maximum(rtol * jnp.abs(values), floor)


def _dot(left, right):
    # The default precision of accelerators is too low for orthogonality.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
