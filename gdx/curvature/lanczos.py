"""Thick-restart Lanczos: the largest eigenpairs of a symmetric product, in the memory of some forty vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gdx.curvature.confirming import Probe, is_unlikely, no_probe, probed
from gdx.trees import safe_norm, unit

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Bool, Float, Int

COMPLETE_SIZE = 64
"""Up to this many dimensions the basis holds them all, and nothing is ever thrown away."""
BASIS_SIZE = 24
"""Vectors kept beyond that, where few eigenpairs are wanted; all are read four times a product, used or not."""
ROUNDING = 16
"""Residuals below this many eps times the operator's norm are rounding."""


class RitzPairs(NamedTuple):
    """Eigenpairs and how well they are known."""

    values: Float[Array, " k"]
    """Descending."""
    residuals: Float[Array, " k"]
    vectors: Float[Array, "k D"]
    """Orthonormal rows."""
    num_products: Int[Array, ""]
    is_converged: Bool[Array, ""]
    is_confirmed: Bool[Array, ""]
    """Whether it is known up to `RISK` that none is missing; always so for a single pair, of which it is not asked."""
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
    dropped: Float[Array, " m"]
    """For every row of the basis, bound of the residual left behind with old bases whenever a fresh vector came in."""
    all_dropped: Float[Array, ""]
    """The same of any unit vector in the basis, which does not grow where copies of an eigenvalue are rotated."""
    probe: Probe
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
) -> RitzPairs:
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
    RitzPairs

    Notes
    -----
    Wu & Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix Anal. Appl. 22,
    2000. Every product is orthogonalised twice against the whole basis, since a single pass loses orthogonality as soon
    as a Ritz value converges. The projected matrix is filled with the coefficients of that, so a restart is nothing but
    a rotation of the basis onto the Ritz vectors that are kept, and the next vector goes on as if nothing had happened.

    A Krylov space holds one vector of every eigenspace. So where several pairs are wanted, a fresh random vector
    orthogonal to the converged ones comes in. Where something larger shows in its space, the search goes on with that,
    and a fresh vector comes in again. Where nothing does, the pairs are believed once the chance that something is
    missing has fallen below `RISK`, see `Probe`; a basis that holds all D dimensions leaves no chance. That takes some
    ln(2 D / (pi RISK^2)) / (4 sqrt(gap)) products, with the gap between the last pair wanted and the next eigenvalue
    as a share of the spectrum.
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
        is_stuck = _is_breakdown(search) | (search.is_enough & ~search.probe.is_on & (k > 1))
        return is_going_on(search) & (search.used < basis_size) & ~is_stuck

    def fill_and_restart(search):
        return _restart(jax.lax.while_loop(has_room, step, search), limits)

    def refresh_and_step(search):
        return step(_with_following(search, _is_breakdown(search)))

    body = refresh_and_step if is_complete else fill_and_restart
    search = jax.lax.while_loop(is_going_on, body, _empty(start, key, limits))
    values, weights = _top_pairs(search, limits, k)
    vectors = _dot(weights.T, search.basis)
    residuals = search.residuals + _rotated_bound(search, weights)
    is_finite = jnp.isfinite(search.norm)
    is_converged = is_finite & jnp.all(residuals <= _tolerance(values, search.norm, rtol))
    is_confirmed = search.is_finished | (k == 1)
    return RitzPairs(values, residuals, vectors, search.num_products, is_converged, is_confirmed, is_finite)


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
        dropped=jnp.zeros(size, start.dtype),
        all_dropped=zero,
        probe=no_probe(size, start.dtype),
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
    new = search._replace(
        basis=basis,
        projected=projected,
        following=rest / jnp.where(rest_norm > 0, rest_norm, 1.0),
        used=row + 1,
        num_products=search.num_products + 1,
        rest_norm=rest_norm,
        norm=norm,
    )
    values, weights = _top_pairs(new, limits, limits.k + 1)
    residuals = rest_norm * jnp.abs(weights[row, : limits.k])
    is_all = new.used == search.following.size
    # A fresh vector leaves residuals behind, up to k times where all are copies; so they are made smaller than wanted.
    slack = 1.0 if is_complete or limits.k == 1 else 0.5 / limits.k
    wanted = jnp.maximum(slack * limits.rtol * jnp.abs(values[: limits.k]), max(slack, 0.25) * _rounding(norm))
    is_small = jnp.all(residuals <= wanted)
    is_enough = is_all | (is_small & (new.used >= limits.k) & (new.num_products >= limits.least_products))
    new = new._replace(residuals=residuals, is_enough=is_enough)
    if limits.k == 1 or is_complete:
        return new._replace(is_finished=is_enough & ((limits.k == 1) | is_all))
    has_found = search.probe.is_on & (values[-1] > search.probe.limit)
    probe = probed(search.probe, row, coefficients, rest_norm, has_found)
    is_confirmed = probe.is_on & (is_unlikely(probe, search.following.size - limits.k) | _is_breakdown(new))
    is_enough &= ~has_found
    return new._replace(probe=probe, is_enough=is_enough, is_finished=is_enough & (is_all | is_confirmed))


def _restart(search, limits):
    """Rotate the basis onto its largest Ritz vectors and forget the rest."""
    is_held = search.probe.is_on
    values, weights = _top_pairs(search, limits, limits.kept)
    confirms = search.is_enough & ~search.is_finished & ~search.probe.is_on & (limits.k > 1)
    # Only converged pairs may stay beside a fresh vector: what the others lack lies along the vector it replaces.
    used = jnp.minimum(jnp.where(confirms, limits.k, limits.kept), search.used)
    stays = jnp.arange(limits.kept) < used
    rotated = jnp.where(stays[:, None], _dot(weights.T, search.basis), 0.0)
    # Nor do the pairs to confirm and what is beside them say any longer how they are coupled.
    apart = jnp.linalg.norm(_dot(search.projected[: limits.k, limits.k :], weights[limits.k :]), axis=0)
    left = jnp.where(confirms, search.rest_norm * jnp.abs(weights[search.used - 1]), jnp.where(is_held, apart, 0.0))
    left = jnp.where(stays, left, 0.0)

    def refilled(kept):
        return jnp.zeros(limits.basis_size, values.dtype).at[: limits.kept].set(jnp.where(stays, kept, 0.0))

    search = search._replace(
        basis=search.basis.at[: limits.kept].set(rotated).at[limits.kept :].set(0.0),
        projected=jnp.diag(refilled(values)),
        used=used,
        dropped=refilled(_rotated_bound(search, weights) + left),
        all_dropped=search.all_dropped + safe_norm(left),
        probe=search.probe._replace(heights=refilled(_dot(weights.T, search.probe.heights))),
    )
    last = values[limits.k - 1]
    begun = no_probe(limits.basis_size, values.dtype)._replace(
        is_on=jnp.ones((), bool),
        limit=last + _tolerance(last, search.norm, limits.rtol),
        following=jnp.ones((), values.dtype),
    )
    search = search._replace(probe=jax.tree.map(lambda b, p: jnp.where(confirms, b, p), begun, search.probe))
    search = _with_following(search, (confirms | _is_breakdown(search)) & ~search.is_finished)
    # What the last product said has been used up.
    return search._replace(rest_norm=jnp.full_like(search.rest_norm, jnp.inf), is_enough=jnp.zeros((), bool))


def _rotated_bound(search, weights):
    return jnp.minimum(_dot(jnp.abs(weights.T), search.dropped), search.all_dropped)


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
    return search.rest_norm <= _rounding(search.norm)


def _orthogonalised(basis, vector):
    """Coefficients along the rows of a basis, and the rest; two passes."""
    coefficients = _dot(basis, vector)
    rest = vector - _dot(coefficients, basis)
    correction = _dot(basis, rest)
    return coefficients + correction, rest - _dot(correction, basis)


def _top_pairs(search, limits, k):
    """Largest eigenpairs of what has been projected, descending; what is unused is pushed below all of them.

    While a probe is on, the pairs that it shall confirm come first as they are. They would mix with others of nearly
    the same eigenvalue that have not converged.
    """
    index, is_held = jnp.arange(limits.basis_size), search.probe.is_on
    is_free = (index < search.used) & ~(is_held & (index < limits.k))
    block = jnp.where(is_free[:, None] & is_free[None, :], search.projected, 0.0)
    # In units of the block, so that tiny and huge curvatures keep their digits.
    bound = jnp.max(jnp.sum(jnp.abs(block), axis=1))
    scale = jnp.where(bound > 0, bound, 1.0)
    values, vectors = jnp.linalg.eigh(block / scale + jnp.diag(jnp.where(is_free, 0.0, -2.0).astype(block.dtype)))
    values, vectors = scale * values[::-1], vectors[:, ::-1]
    held = jnp.eye(limits.basis_size, limits.k, dtype=block.dtype)
    with_held = jnp.concatenate([jnp.diag(search.projected)[: limits.k], values])[: limits.basis_size]
    values = jnp.where(is_held, with_held, values)
    vectors = jnp.where(is_held, jnp.concatenate([held, vectors], axis=1)[:, : limits.basis_size], vectors)
    return values[:k], vectors[:, :k]


def _tolerance(values, norm, rtol):
    return jnp.maximum(rtol * jnp.abs(values), _rounding(norm))


def _rounding(norm):
    return ROUNDING * jnp.finfo(norm.dtype).eps * norm


def _dot(left, right):
    # The default precision of accelerators is too low for orthogonality.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
