"""Where a run goes round: the values that it visits last, how far apart they are, and which attractor it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from gdx.checks import check_count
from gdx.observers.observer import Observer, horizon_of
from gdx.records import record

if TYPE_CHECKING:
    from jaxtyping import Array, Float

GOLDEN = 0.6180339887498949
"""Multiples of it modulo 1 are spread evenly, and no two are alike."""


@record
class Extent(NamedTuple):
    """Between which values a run moves in the second half of its horizon; leaves [S, R] of many.

    Examples
    --------
    Continues the example of `gdx.observers.extent`.

    >>> (runs.observed["extent"].largest - runs.observed["extent"].least).round(6)
    array([[0.      ],
           [0.301511]])
    """

    least: Float[Array, ""]
    """NaN where a run did not get there."""
    largest: Float[Array, ""]
    """NaN likewise."""


def last_values(of: Callable[[Any], Any], number: int = 64) -> Observer:
    """Keep a number of every one of a run's last steps, as a bifurcation diagram shows them.

    Parameters
    ----------
    of
        `view -> number`, such as `lambda view: view.params[0]`.
    number
        Of steps, V; at most the horizon counts.

    Returns
    -------
    Observer
        Its summary is an array [V], oldest first, NaN where a run did not get there. No run ends early.

    Raises
    ------
    ValueError
        If the number is none of at least 1.

    Examples
    --------
    >>> import jax, numpy as np, optax, gdx
    >>> watching = {"w": gdx.observers.last_values(lambda view: view.params, 4)}
    >>> run = gdx.sweep(gdx.problems.quartic(start=0.5), optax.sgd, num_steps=2_000, observers=watching)
    >>> np.sort(run([1.1], jax.random.split(jax.random.key(0), 1)).observed["w"][0, 0]).round(4)  # two points
    array([0.8146, 0.8146, 1.1161, 1.1161])
    """
    count = check_count("number", number, "pass how many of the last steps are to be kept")

    def update(kept, view):
        place = view.step - (horizon_of(view) - count)
        # Where it is below 0 it would count from the end.
        place = jnp.where(place >= 0, place, count)
        return kept.at[place].set(_number(of, view).astype(kept.dtype), mode="drop")

    return Observer(
        init=lambda params: jnp.full(count, jnp.nan, float),
        update=update,
        summarise=lambda kept: kept,
        whole_horizon=True,
    )


def extent(of: Callable[[Any], Any]) -> Observer:
    """Keep the least and the largest value of a number over the second half of a run.

    Parameters
    ----------
    of
        `view -> number`.

    Returns
    -------
    Observer
        Its summary is an `Extent`. No run ends early.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> watching = {"extent": gdx.observers.extent(lambda view: view.params)}
    >>> run = gdx.sweep(gdx.problems.quartic(start=0.5), optax.sgd, num_steps=2_000, observers=watching)
    >>> runs = run([0.5, 1.1], jax.random.split(jax.random.key(0), 1))
    >>> runs.observed["extent"].largest.round(6)
    array([[1.      ],
           [1.116063]])
    """

    def update(seen, view):
        value, counts = _number(of, view), view.step >= horizon_of(view) // 2
        least = jnp.where(counts, jnp.fmin(seen.least, value), seen.least)
        largest = jnp.where(counts, jnp.fmax(seen.largest, value), seen.largest)
        return Extent(least.astype(seen.least.dtype), largest.astype(seen.largest.dtype))

    return Observer(
        init=lambda params: Extent(jnp.full((), jnp.nan, float), jnp.full((), jnp.nan, float)),
        update=update,
        summarise=lambda seen: seen,
        whole_horizon=True,
    )


def attractor(num_steps: int = 128) -> Observer:
    """Tell which minimum a run ends in, or which cycle, by a point that is the same wherever in its round a run stops.

    Of the points visited last it is the one that lies furthest along a fixed direction, along nothing in particular.
    `gdx.maps.attractors` makes numbers of such points, that a map can colour.

    Parameters
    ----------
    num_steps
        How many of the last steps are looked at: no fewer than the longest cycle has points.

    Returns
    -------
    Observer
        Its summary is that point, parameters; NaN where a run did not get there. No run ends early.

    Raises
    ------
    ValueError
        If the number is none of at least 1.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> watching = {"attractor": gdx.observers.attractor()}
    >>> wells = gdx.problem(lambda key: jax.random.normal(key), lambda w: (w**2 - 1) ** 2 / 4)
    >>> run = gdx.sweep(wells, optax.sgd, num_steps=2_000, observers=watching)
    >>> runs = run([0.2], jax.random.split(jax.random.key(0), 4))
    >>> bool(jnp.allclose(abs(runs.observed["attractor"]), 1))  # one of two minima
    True
    """
    count = check_count("num_steps", num_steps, "pass how many of the last steps are to be looked at")

    def update(seen, view):
        furthest, place = seen
        height = _along(view.params)
        is_further = (view.step >= horizon_of(view) - count) & ~(height <= furthest)
        params = jax.tree.map(lambda new, old: jnp.where(is_further, new, old), view.params, place)
        return jnp.where(is_further, height, furthest), params

    return Observer(
        init=lambda params: (
            jnp.full((), jnp.nan, _along(params).dtype),
            jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params),
        ),
        update=update,
        summarise=lambda seen: seen[1],
        whole_horizon=True,
    )


def _number(of, view):
    value = jnp.asarray(of(view))
    if value.ndim:
        raise ValueError(f"of: it gives an array {list(value.shape)}; return one number of a view")
    return value


def _along(params):
    """How far parameters lie along a direction in which no two of them count alike."""
    total, start = jnp.zeros(()), 0
    for leaf in jax.tree.leaves(params):
        places = start + jnp.arange(1, leaf.size + 1, dtype=leaf.dtype)
        total = total + jnp.sum((0.5 + GOLDEN * places % 1) * jnp.ravel(leaf))
        start += leaf.size
    return total
