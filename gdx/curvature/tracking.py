"""Following the largest eigenpair of a matrix that changes a little between two looks, one product a look."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gdx.records import record

if TYPE_CHECKING:
    import chex
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


@record
class Followed(NamedTuple):
    """What a look hands to the next one; zeros and NaN before the first."""

    value: Float[Array, ""]
    """Rayleigh quotient of the vector."""
    vector: chex.ArrayTree
    """Of length 1."""
    direction: chex.ArrayTree
    """In which the quotient rises, of length 1 or 0, at a right angle to the vector."""
    residual: Float[Array, ""]
    """How steeply: A vector = value vector + residual direction."""
    told: Float[Array, ""]
    """The value, or where the vector was shaken before the last product its quotient without that."""


class _Search(NamedTuple):
    """What the loop over products carries."""

    now: Followed
    rest: chex.ArrayTree
    """A vector - value vector, at a right angle to the vector."""
    refreshes: Bool[Array, ""]
    """Whether the vector is multiplied next, and not the direction."""
    is_lost: Bool[Array, ""]
    """Whether a random vector takes the vector's place before that."""
    num_products: Int[Array, ""]
    most: Int[Array, ""]


def follow(
    product: Callable[[chex.ArrayTree], chex.ArrayTree],
    along: Callable[[chex.ArrayTree], Float[Array, ""]],
    old: Followed,
    refreshes: Bool[Array, ""],
    is_due: Bool[Array, ""] | bool = True,
) -> Followed:
    """Look at a symmetric matrix once more. Vectors are pytrees of arrays of one dtype.

    Parameters
    ----------
    product
        `vector -> A vector`. It stands in the program once, whatever the look has to do.
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
    Several products are conjugate gradients on the Rayleigh quotient (Bradbury and Fletcher, Numerische Mathematik 9,
    1966): one after the other gives the best vector of the plane of vector and direction, and directions are conjugate
    under A - value. The last of them is not kept between looks, since the matrix changes.
    """
    nothing = jnp.zeros((), jnp.int32)
    is_lost = ~jnp.isfinite(old.value)
    turns = is_due & ~refreshes & ~is_lost
    most = jnp.where(is_due & ~turns, jnp.where(is_lost, FIRST_PRODUCTS, 1), 0).astype(jnp.int32)
    # A loop of one round, since a branch would be taken by all lanes under vmap.
    found = jax.lax.fori_loop(0, turns.astype(jnp.int32), lambda _, now: _turned(now, along(now.direction)), old)
    is_settled = ~is_lost & (found.residual <= SETTLED * jnp.abs(found.value))

    def goes_on(search):
        now = search.now
        is_open = jnp.isfinite(now.value) & (now.residual > FIRST_RTOL * jnp.abs(now.value))
        return (search.num_products < search.most) & ((search.num_products == 0) | search.is_lost | is_open)

    def look(search):
        is_first, before = search.num_products == 0, search.now.vector
        shakes = is_first & is_settled
        vector, length = jax.lax.cond(
            search.is_lost | shakes, lambda: _shaken(before, search.is_lost), lambda: (before, jnp.ones_like(old.value))
        )
        now, refreshes = search.now._replace(vector=vector), search.refreshes | search.is_lost
        multiplied = _either(refreshes, vector, now.direction)
        image = product(multiplied)
        new = _moved(search._replace(now=now, refreshes=refreshes), multiplied, image)
        # A symmetric matrix gives the quotient that the vector had, but for the shake times what is left of a residual.
        told = jnp.where(shakes, _dot(before, image) * length, new.now.value)
        has_lost = is_first & ~search.is_lost & (new.now.value < LOST * old.value)
        return new._replace(
            now=new.now._replace(told=told),
            is_lost=has_lost,
            num_products=search.num_products + 1,
            most=jnp.where(has_lost, 1 + FIRST_PRODUCTS, search.most),
        )

    start = _Search(found, _zeros(old.vector), jnp.ones((), bool), is_lost, nothing, most)
    end = jax.lax.while_loop(goes_on, look, start)
    # What was followed for more than a product has lost a vector to a matrix that changes fast: look at that one first.
    is_kept = end.num_products < 2
    return end.now._replace(direction=_either(is_kept, end.now.direction, _zeros(old.vector)))


def _turned(now, along):
    """The best vector of the plane of vector and direction, whose curvature is known; the latter has had its turn."""
    best, cosine, sine = _best(now.value, now.residual, along.astype(now.value.dtype))
    vector = _unit(_sum((cosine, now.vector), (sine, now.direction)))
    return Followed(best, vector, _zeros(vector), now.residual, best)


def _best(value, across, along):
    """Larger eigenvalue of [[value, across], [across, along]] and its vector, whose first number is not negative."""
    half = 0.5 * (value - along)
    gap = jnp.hypot(half, across)
    large = gap + jnp.abs(half)
    length = jnp.hypot(large, across)
    length = jnp.where(length > 0, length, 1.0)
    of_large, of_across = jnp.where(gap == 0, 1.0, large / length), across / length
    cosine = jnp.where(half >= 0, of_large, jnp.abs(of_across))
    sine = jnp.where(half >= 0, of_across, jnp.where(across < 0, -of_large, of_large))
    return 0.5 * (value + along) + gap, cosine, sine


def _moved(search, multiplied, image):
    """Take a product into account: of the vector, which stays, or of the direction, along which it moves.

    Branches would copy every vector, and coefficients of 0 and 1 do not.
    """
    (value, vector, direction, _, _), refreshes = search.now, search.refreshes
    value = jnp.where(refreshes, 0.0, value)
    quotient = _dot(multiplied, image)
    best, cosine, sine = _best(value, _dot(direction, search.rest), quotient)
    best, cosine, sine = (jnp.where(refreshes, *pair) for pair in ((quotient, best), (1.0, cosine), (0.0, sine)))
    moved = _sum((cosine, vector), (sine, direction))
    old, new = jnp.where(refreshes, 0.0, cosine), jnp.where(refreshes, 1.0, sine)
    rest = _sum((old * value, vector), (old, search.rest), (new, image), (-best, moved))
    # What rounding has left along the vector.
    rest = _sum((1.0, rest), (-_dot(moved, rest), moved))
    length = jnp.sqrt(_dot(rest, rest))
    # The last direction, turned with the vector, is at a right angle to it and to the rest, and its product is known.
    smaller = value + quotient - best
    product = cosine * _dot(rest, image) - sine * (value * _dot(rest, vector) + _dot(rest, search.rest))
    share = jnp.where(refreshes | (smaller == best), 0.0, product / (best - smaller))
    ahead = _unit(_sum((1.0, rest), (share * cosine, direction), (-share * sine, vector)))
    return search._replace(now=Followed(best, moved, ahead, length, best), rest=rest, refreshes=jnp.zeros((), bool))


def _shaken(vector, is_lost):
    """A vector of length 1 off a vector and, at a right angle to it, a little of all directions, and the length before.

    Where the vector is lost, that other one alone.
    """
    anything = _scattered(vector)
    little, much = jnp.where(is_lost, 0.0, 1.0), jnp.where(is_lost, 1.0, SHAKE)
    shaken = _sum((little * (1 - SHAKE * _dot(vector, anything)), vector), (much, anything))
    length = jnp.sqrt(_dot(shaken, shaken))
    return _sum((1 / length, shaken)), length


def _scattered(like):
    """A vector of length 1 that is along nothing in particular: numbers in [-1, 1], off the mixed bits of their places.

    It is no sample of anything; a generator of random numbers takes longer to compile.
    """
    leaves, structure = jax.tree.flatten(like)
    starts = itertools.accumulate((leaf.size for leaf in leaves), initial=0)
    scattered = structure.unflatten([_mixed(leaf, start) for leaf, start in zip(leaves, starts, strict=False)])
    return _unit(scattered)


def _mixed(leaf, start):
    bits = jax.lax.iota(jnp.uint32, leaf.size) + jnp.uint32(start % 2**32)
    for factor, shift in ((0x9E3779B9, 16), (0x85EBCA6B, 13), (0xC2B2AE35, 16)):
        bits = bits * jnp.uint32(factor)
        bits = bits ^ (bits >> shift)
    return (bits.astype(leaf.dtype) / 2.0**31 - 1.0).reshape(leaf.shape)


def _sum(*terms):
    """Numbers times vectors, in one pass, in the dtype of the vectors."""

    def add(*leaves):
        return sum(jnp.asarray(number, leaf.dtype) * leaf for (number, _), leaf in zip(terms, leaves, strict=True))

    return jax.tree.map(add, *(vector for _, vector in terms))


def _dot(one, other):
    """Not by `jnp.vdot`: at full precision on accelerators, too, and XLA joins it to what makes the vectors."""
    return sum(jax.tree.leaves(jax.tree.map(lambda one, other: jnp.sum(one * other), one, other)))


def _unit(vector):
    """Of length 1; zeros stay zeros."""
    length = jnp.sqrt(_dot(vector, vector))
    return _sum((1 / jnp.where(length > 0, length, 1.0), vector))


def _either(first, one, other):
    return jax.tree.map(lambda one, other: jnp.where(first, one, other), one, other)


def _zeros(like):
    return jax.tree.map(jnp.zeros_like, like)
