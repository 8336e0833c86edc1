"""Following the largest eigenpair of a matrix that changes a little between two looks, one product a look."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

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

EXACT = jax.lax.Precision.HIGHEST
"""The default precision of accelerators is too low for right angles."""


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
    old: Followed,
    refreshes: Bool[Array, ""],
    is_due: Bool[Array, ""] | bool = True,
) -> Followed:
    """Look at a symmetric matrix once more.

    Parameters
    ----------
    product
        `vector -> A vector`, [D] to [D]. It stands in the program once, whatever the look has to do.
    old
        What the last look found.
    refreshes
        Whether to multiply the vector, which gives its quotient as it is now and the direction in which that rises;
        else the direction is multiplied, which gives the best vector of the plane of both.
    is_due
        Whether to look at all. Under vmap no product is made where none of the lanes is due.

    Returns
    -------
    Followed
        Without a vector, and where the quotient has fallen below a quarter, after up to 32 products more.

    Notes
    -----
    Several products are those of the locally optimal method of Knyazev, "Toward the optimal preconditioned eigensolver",
    SIAM J. Sci. Comput. 23, 2001, for one vector without a preconditioner: Rayleigh-Ritz on vector, direction and last
    move, of which the first two alone are kept between looks.
    """
    zeros, nothing = jnp.zeros_like(old.vector), jnp.zeros((), jnp.int32)
    is_lost = ~jnp.any(old.vector)
    most = jnp.where(is_due, jnp.where(is_lost, FIRST_PRODUCTS, 1), 0).astype(jnp.int32)

    def goes_on(search):
        now = search.now
        is_open = jnp.isfinite(now.value) & (now.residual > FIRST_RTOL * jnp.abs(now.value))
        return (search.num_products < search.most) & ((search.num_products == 0) | search.is_lost | is_open)

    def look(search):
        # Random numbers are drawn for those who need them.
        vector = jax.lax.cond(search.is_lost, lambda: _random(old.vector), lambda: search.now.vector)
        refreshes = search.refreshes | search.is_lost
        image = product(jnp.where(refreshes, vector, search.now.direction))
        now, last, last_image = jax.lax.cond(
            refreshes,
            lambda: (_with_rest(jnp.vdot(vector, image, precision=EXACT), vector, image), zeros, zeros),
            lambda: _improved(search, image),
        )
        has_lost = (search.num_products == 0) & ~search.is_lost & (now.value < LOST * old.value)
        most = jnp.where(has_lost, 1 + FIRST_PRODUCTS, search.most)
        return _Search(now, last, last_image, jnp.zeros((), bool), has_lost, search.num_products + 1, most)

    start = _Search(old, zeros, zeros, jnp.asarray(refreshes), is_lost, nothing, most)
    return jax.lax.while_loop(goes_on, look, start).now


def _improved(search, image):
    """The best vector of the space of vector, direction and last move, by the product of the direction."""
    now = search.now
    basis = (now.vector, now.direction, search.last)
    images = (now.value * now.vector + now.residual * now.direction, image, search.last_image)
    along, across = jnp.vdot(now.direction, image, precision=EXACT), jnp.vdot(search.last, image, precision=EXACT)
    behind, zero = jnp.vdot(search.last, search.last_image, precision=EXACT), jnp.zeros_like(now.value)
    projected = jnp.stack([now.value, now.residual, zero, now.residual, along, across, zero, across, behind])
    # In units of itself; and where there was no last move, what stands for it must not be the largest.
    scale = jnp.maximum(jnp.sum(jnp.abs(projected)), jnp.finfo(projected.dtype).tiny)
    projected = (projected / scale).reshape(3, 3)
    projected = projected.at[2, 2].set(jnp.where(jnp.any(search.last), projected[2, 2], -2.0))
    weights = jnp.linalg.eigh(projected)[1][:, -1]
    moved = weights.at[0].set(0.0)
    back = unit(moved - (moved @ weights) * weights)
    value = scale * (weights @ projected @ weights)
    now = _with_rest(value, _combined(weights, basis), _combined(weights, images))
    return now, _combined(back, basis), _combined(back, images)


def _with_rest(value, vector, image):
    """A vector of length 1, its quotient and its product, split into what is along it and the rest."""
    rest = image - value * vector
    # What rounding has left along the vector.
    rest = rest - jnp.vdot(vector, rest, precision=EXACT) * vector
    length = jnp.linalg.norm(rest)
    return Followed(value, vector, rest / jnp.where(length > 0, length, 1.0), length)


def _combined(weights, rows):
    return weights[0] * rows[0] + weights[1] * rows[1] + weights[2] * rows[2]


def _random(like):
    # Whatever draws: it is no sample of anything, and the default generator takes longer to compile.
    return unit(jax.random.uniform(jax.random.key(0, impl="rbg"), like.shape, like.dtype, -1.0, 1.0))
