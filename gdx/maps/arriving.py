"""How long a run takes to come to rest, which a sweep does not say of runs that go on to their horizon."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gdx.observers import Observer

ARRIVAL = "arrival"
"""Name of the observer that a map adds."""


def arrival(tolerance: float) -> Observer:
    """Count the steps up to the last one at which the gradient was large.

    Parameters
    ----------
    tolerance
        Gradient norm, relative to the first, above which it is.

    Returns
    -------
    Observer
        Its summary is the number of steps after which the norm stayed at or below that, int32; all steps where it
        never did for good.

    Examples
    --------
    Continues the example of `gdx`: gradients halve at half the inverse curvature.

    >>> bowl = gdx.problems.quadratic([1.0], start=[1.0])
    >>> watched = {"arrival": gdx.maps.arrival(1e-3)}
    >>> run = gdx.sweep(bowl, optax.sgd, num_steps=100, observers=watched)
    >>> run([0.5], keys[:1]).observed["arrival"]  # 2^-10 is the first below 1e-3
    array([[10]], dtype=int32)
    """

    def init(params):
        dtype = jnp.result_type(*jax.tree.leaves(params), jnp.float32)
        return {"first": jnp.zeros((), dtype), "steps": jnp.zeros((), jnp.int32)}

    def update(seen, view):
        square = sum(jnp.sum(leaf.astype(seen["first"].dtype) ** 2) for leaf in jax.tree.leaves(view.gradient))
        first = jnp.where(view.step == 0, square, seen["first"])
        is_large = ~(square <= tolerance**2 * first)
        return {"first": first, "steps": jnp.where(is_large, view.step + 1, seen["steps"]).astype(jnp.int32)}

    return Observer(init, update, lambda seen: seen["steps"])
