"""Following the largest eigenpair of a matrix that changes a little between two looks, one product a look."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gdx.records import record
from gdx.trees import unit

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

FIRST_PRODUCTS = 32
"""Products that a look may spend where it has no vector to begin from."""
FIRST_RTOL = 1e-2
"""Residual, relative to the value, at which such a look ends."""
LOST = 0.25
"""Share of the last value below which a new one says that the vector has lost the top, as it does when a preconditioner
is young: then as many products are spent as at first."""

SETTLED, SHAKE = 3e-3, 1e-2
"""Residual, relative to the value, at which a vector has nothing left to learn from its own neighbourhood, and how much
of one that is along nothing in particular it then takes in: curvature may rise where the vector has no share, as in one
of two models that do not touch, and from a share of zero nothing grows."""

EXACT = jax.lax.Precision.HIGHEST
"""The default precision of accelerators is too low for right angles."""


@record
class Followed(NamedTuple):
    """What a look hands to the next one; zeros and NaN before the first."""

    value: Float[Array, ""]
    """Rayleigh quotient of the vector."""
    vector: Float[Array, " D"]
    """Of length 1."""
    direction: Float[Array, " D"]
    """In which the quotient rises, of length 1 or 0, at a right angle to the vector."""
    residual: Float[Array, ""]
    """How steeply: A vector = value vector + residual direction."""
    told: Float[Array, ""]
    """The value, or where the vector was shaken before the last product its quotient without that."""


class _Search(NamedTuple):
    """What the loop over products carries."""

    now: Followed
    last: Float[Array, " D"]
    """Where the last move came from, of length 1 and at a right angle to vector and direction; zeros for nowhere."""
    last_image: Float[Array, " D"]
    """Its product."""
    refreshes: Bool[Array, ""]
    """Whether the vector is multiplied next, and not the direction."""
    is_lost: Bool[Array, ""]
    """Whether a random vector takes the vector's place before that."""
    num_products: Int[Array, ""]
    most: Int[Array, ""]


def follow(
    product: Callable[[Float[Array, " D"]], Float[Array, " D"]],
    along: Callable[[Float[Array, " D"]], Float[Array, ""]],
    old: Followed,
    refreshes: Bool[Array, ""],
    is_due: Bool[Array, ""] | bool = True,
) -> Followed:
    """Look at a symmetric matrix once more.

    Parameters
    ----------
    product
        `vector -> A vector`, [D] to [D]. It stands in the program once, whatever the look has to do.
    along
        `vector -> vector . A vector`, for less than a product.
    old
        What the last look found.
    refreshes
        Whether to multiply the vector, which gives its quotient as it is now and the direction in which that rises;
        else the curvature along the direction is taken, which gives the best vector of the plane of both.
    is_due
        Whether to look at all. Under vmap no product is made where none of the lanes is due.

    Returns
    -------
    Followed
        Without a vector, and where the quotient has fallen below a quarter, after up to 32 products more. The direction
        is 0 where the vector is to be multiplied next.

    Notes
    -----
    Several products are those of the locally optimal method of Knyazev, "Toward the optimal preconditioned
    eigensolver", SIAM J. Sci. Comput. 23, 2001, for one vector without a preconditioner: Rayleigh-Ritz on vector,
    direction and last move, of which the first two alone are kept between looks.
    """
    zeros, nothing = jnp.zeros_like(old.vector), jnp.zeros((), jnp.int32)
    is_lost = ~jnp.any(old.vector)
    turns = is_due & ~refreshes & ~is_lost
    most = jnp.where(is_due & ~turns, jnp.where(is_lost, FIRST_PRODUCTS, 1), 0).astype(jnp.int32)
    # A loop of one round, since a branch would be taken by all lanes under vmap.
    found = jax.lax.fori_loop(0, turns.astype(jnp.int32), lambda _, now: _turned(now, along(now.direction)), old)

    def goes_on(search):
        now = search.now
        is_open = jnp.isfinite(now.value) & (now.residual > FIRST_RTOL * jnp.abs(now.value))
        return (search.num_products < search.most) & ((search.num_products == 0) | search.is_lost | is_open)

    def look(search):
        now, refreshes = search.now, search.refreshes | search.is_lost
        anything = _scattered(now.vector)
        is_settled = (search.num_products == 0) & refreshes & (now.residual <= SETTLED * jnp.abs(now.value))
        beside = anything - jnp.vdot(now.vector, anything, precision=EXACT) * now.vector
        shaken = now.vector + jnp.asarray(SHAKE, now.vector.dtype) * beside
        vector = jnp.where(search.is_lost, anything, jnp.where(is_settled, unit(shaken), now.vector))
        now = now._replace(vector=vector)
        image = product(jnp.where(refreshes, vector, now.direction))
        new = _moved(search._replace(now=now, refreshes=refreshes), image)
        # A symmetric matrix gives the quotient that the vector had, but for the shake times what is left of a residual.
        before = jnp.vdot(search.now.vector, image, precision=EXACT) * jnp.linalg.norm(shaken)
        new = new._replace(now=new.now._replace(told=jnp.where(is_settled, before, new.now.told)))
        has_lost = (search.num_products == 0) & ~search.is_lost & (new.now.value < LOST * old.value)
        most = jnp.where(has_lost, 1 + FIRST_PRODUCTS, search.most)
        return new._replace(is_lost=has_lost, num_products=search.num_products + 1, most=most)

    start = _Search(found, zeros, zeros, jnp.ones((), bool), is_lost, nothing, most)
    end = jax.lax.while_loop(goes_on, look, start)
    # What was followed for more than a product has lost a vector to a matrix that changes fast: look at that one first.
    is_kept = end.num_products < 2
    return end.now._replace(direction=jnp.where(is_kept, end.now.direction, 0.0))


def _turned(now, along):
    """The best vector of the plane of vector and direction, whose curvature is known; the latter has had its turn."""
    value, vector, direction, across, _ = now
    along = along.astype(value.dtype)
    angle = 0.5 * jnp.arctan2(2 * across, value - along)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    best = cosine**2 * value + 2 * cosine * sine * across + sine**2 * along
    return Followed(best, unit(cosine * vector + sine * direction), jnp.zeros_like(direction), across, best)


def _moved(search, image):
    """Take a product into account: of the vector, which stays, or of the direction, along which it moves.

    Branches would copy every vector, and coefficients of 0 and 1 do not.
    """
    (value, vector, direction, residual, _), refreshes = search.now, search.refreshes
    along = jnp.vdot(jnp.where(refreshes, vector, direction), image, precision=EXACT)
    best, weights, back = _best(search, along, image)
    stays = jnp.asarray([1.0, 0.0, 0.0], weights.dtype)
    weights, back = jnp.where(refreshes, stays, weights), jnp.where(refreshes, 0.0, back)
    of_vector, of_direction = jnp.where(refreshes, 0.0, value), jnp.where(refreshes, 0.0, residual)
    weights, back = jax.lax.optimization_barrier((weights, back))

    def combined(weights):
        image_of_first = of_vector * vector + of_direction * direction + jnp.where(refreshes, image, 0.0)
        made = weights[0] * vector + weights[1] * direction + weights[2] * search.last
        return made, weights[0] * image_of_first + weights[1] * image + weights[2] * search.last_image

    now = _with_rest(jnp.where(refreshes, along, best), *combined(weights))
    last, last_image = combined(back)
    return search._replace(now=now, last=last, last_image=last_image, refreshes=jnp.zeros((), bool))


def _best(search, along, image):
    """Largest quotient in the space of vector, direction and last move, its weights, and those of the move to it."""
    value, residual = search.now.value, search.now.residual
    across = jnp.vdot(search.last, image, precision=EXACT)
    behind, zero = jnp.vdot(search.last, search.last_image, precision=EXACT), jnp.zeros_like(value)
    projected = jnp.stack([value, residual, zero, residual, along, across, zero, across, behind])
    # In units of itself; and where there was no last move, what stands for it must not be the largest.
    scale = jnp.maximum(jnp.sum(jnp.abs(projected)), jnp.finfo(projected.dtype).tiny)
    projected = (projected / scale).reshape(3, 3)
    projected = projected.at[2, 2].set(jnp.where(jnp.any(search.last), projected[2, 2], -2.0))
    weights = jnp.linalg.eigh(projected)[1][:, -1]
    moved = weights.at[0].set(0.0)
    return scale * (weights @ projected @ weights), weights, unit(moved - (moved @ weights) * weights)


def _with_rest(value, vector, image):
    """A vector of length 1, its quotient and its product, split into what is along it and the rest."""
    rest = image - value * vector
    # What rounding has left along the vector.
    rest = rest - jnp.vdot(vector, rest, precision=EXACT) * vector
    length = jnp.linalg.norm(rest)
    return Followed(value, vector, rest / jnp.where(length > 0, length, 1.0), length, value)


def _scattered(like):
    """A vector of length 1 that is along nothing in particular: numbers in [-1, 1], off the mixed bits of their places.

    It is no sample of anything; a generator of random numbers takes longer to compile, and draws in a branch.
    """
    bits = jax.lax.iota(jnp.uint32, like.size)
    for factor, shift in ((0x9E3779B9, 16), (0x85EBCA6B, 13), (0xC2B2AE35, 16)):
        bits = bits * jnp.uint32(factor)
        bits = bits ^ (bits >> shift)
    return unit(bits.astype(like.dtype) / 2.0**31 - 1.0)
