"""Whether eigenpairs that have converged are all that there are: a random vector that would show what is missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

RISK = 1e-6
"""Chance that is left, after several eigenpairs have converged, that a larger or repeated eigenvalue is missing."""


class Probe(NamedTuple):
    """A Krylov space of a fresh random vector x, beside the pairs that it shall confirm.

    Every vector of it is q(A) x with a polynomial q. A unit vector q(A) x has a share of at most 1 along any
    eigenvector, so x itself has at most 1 / q(t)^2 of its squared length along one with the eigenvalue t. Once that is
    less than a random vector would ever have, there is none.
    """

    is_on: Bool[Array, ""]
    """While it is, the first k rows of the basis are the pairs to confirm, and stay as they are."""
    limit: Float[Array, ""]
    """t, the last of their values and its tolerance: what is no larger is nothing new."""
    heights: Float[Array, " m"]
    """q(t) for every row of the basis; 0 where no probe is on."""
    following: Float[Array, ""]
    """The same for the next row."""


def no_probe(basis_size: int, dtype: jnp.dtype) -> Probe:
    """Make a probe that is off.

    Parameters
    ----------
    basis_size
        Rows of the basis, m.
    dtype
        Of its numbers.

    Returns
    -------
    Probe
    """
    zero = jnp.zeros((), dtype)
    return Probe(jnp.zeros((), bool), zero, jnp.zeros(basis_size, dtype), zero)


def probed(
    probe: Probe,
    row: jax.Array,
    coefficients: Float[Array, " m"],
    rest_norm: Float[Array, ""],
    has_found: Bool[Array, ""],
) -> Probe:
    """Add the heights of one product more.

    Parameters
    ----------
    probe
        So far.
    row
        Of the basis, which was multiplied.
    coefficients, rest_norm
        The product along all rows, and the length of what is left of it, which is the next row.
    has_found
        Whether something larger than the limit has shown: then the probe has done its work, and is off.

    Returns
    -------
    Probe
    """
    heights = probe.heights.at[row].set(probe.following)
    rest = probe.limit * heights[row] - jnp.sum(coefficients * heights)
    following = rest / jnp.where(rest_norm > 0, rest_norm, 1.0)
    is_on = probe.is_on & ~has_found
    return Probe(is_on, probe.limit, jnp.where(is_on, heights, 0.0), jnp.where(is_on, following, 0.0))


def is_unlikely(probe: Probe, size: int) -> Bool[Array, ""]:
    """Say whether the chance that the probe has overlooked an eigenvalue above its limit is below `RISK`.

    Parameters
    ----------
    probe
        With all heights so far.
    size
        Dimensions of the space that its random vector was drawn from.

    Returns
    -------
    bool
    """
    squared = jnp.sum(probe.heights**2) + probe.following**2
    # Of a unit vector of n random numbers one squared is below e with chance sqrt(2 e n / pi).
    return squared * (math.pi * RISK**2) >= 2 * size
