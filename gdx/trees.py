"""Arithmetic of pytrees that JAX and optax lack, in one place."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float


def strong(tree: Any) -> Any:
    """Make arrays of a pytree's leaves, without weak types, so that what a scan carries keeps its type.

    Parameters
    ----------
    tree
        Pytree of arrays and numbers.

    Returns
    -------
    pytree
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.asarray(leaf).dtype), tree)


def cast_like(new: Any, old: Any) -> Any:
    """Cast the leaves of a pytree to the dtypes of another, without weak types.

    Parameters
    ----------
    new, old
        Pytrees of the same structure.

    Returns
    -------
    pytree
    """
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, dtype=jnp.asarray(like).dtype), new, old)


def widest(tree: Any) -> jnp.dtype:
    """Give the dtype that a computation over all leaves is made in.

    Parameters
    ----------
    tree
        Pytree of floating arrays.

    Returns
    -------
    dtype
        The leaves' common one, float32 at least.
    """
    return jnp.promote_types(jnp.result_type(*jax.tree.leaves(tree)), jnp.float32)


def wide(tree: Any) -> Any:
    """Cast every leaf by itself to float32 where it is narrower.

    Parameters
    ----------
    tree
        Pytree of floating arrays.

    Returns
    -------
    pytree
    """
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), tree)


def is_floating(leaf: Any) -> bool:
    """Tell whether a leaf holds floating numbers, which alone have tangents.

    Parameters
    ----------
    leaf
        An array.

    Returns
    -------
    bool
    """
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def rows(tree: Any, index: Any) -> Any:
    """Take some along the leading axis of every leaf: one of many runs, say, or several.

    Parameters
    ----------
    tree
        Pytree of arrays [S, ...].
    index
        A number, indices [n], a slice, or whatever else indexes an axis.

    Returns
    -------
    pytree
        Leaves without that axis, or of the length of the index.
    """
    return jax.tree.map(lambda leaf: leaf[index], tree)


def repeated(tree: Any, number: int) -> Any:
    """Put a pytree beside itself.

    Parameters
    ----------
    tree
        Pytree of arrays.
    number
        How often.

    Returns
    -------
    pytree
        Leaves [number, ...].
    """
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), tree)


def all_finite(tree: Any) -> jax.Array:
    """Tell whether every number of a pytree is finite.

    Parameters
    ----------
    tree
        Pytree of floating arrays.

    Returns
    -------
    array
        Bool.
    """
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


LARGE = 1 << 15
"""Numbers of a leaf that is written into place, or left, by itself."""


def flatten(tree: chex.ArrayTree) -> Float[Array, " D"]:
    """Join leaves to one vector, of the widest dtype among them.

    Parameters
    ----------
    tree
        Pytree of float32 and float64 arrays.

    Returns
    -------
    array
        [D].
    """
    leaves = jax.tree.leaves(tree)
    dtype = max((leaf.dtype for leaf in leaves), key=lambda dtype: dtype.itemsize)
    groups = itertools.groupby(leaves, lambda leaf: leaf.size >= LARGE)
    parts = [part for is_large, few in groups for part in ([[leaf] for leaf in few] if is_large else [list(few)])]
    vectors = [jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in part]) for part in parts]
    if len(vectors) == 1:
        return vectors[0]
    # XLA on CPU may join large ones number by number, with what made them inside of that loop: ten times as long as a
    # gradient took, where it was that of a network of 1e6 parameters.
    joined, start = jnp.zeros(sum(vector.size for vector in vectors), dtype), 0
    for vector in vectors:
        joined = jax.lax.dynamic_update_slice(joined, vector, (start,))
        start += vector.size
    return joined


def unflatten(vector: Float[Array, " D"], params: chex.ArrayTree) -> chex.ArrayTree:
    """Shape a vector as parameters.

    Parameters
    ----------
    vector
        [D].
    params
        Pytree of arrays, D numbers.

    Returns
    -------
    pytree
        In the dtypes of the parameters.
    """
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
    pieces = [vector[end - leaf.size : end] for end, leaf in zip(ends, leaves, strict=True)]
    shaped = [piece.reshape(leaf.shape).astype(leaf.dtype) for piece, leaf in zip(pieces, leaves, strict=True)]
    return structure.unflatten(shaped)


def few_leaves(tree: chex.ArrayTree) -> list[jax.Array]:
    """Join the small leaves to one vector and leave the large ones alone, all in the widest dtype among them.

    What is done to every leaf is then soon compiled, and nothing large is copied.

    Parameters
    ----------
    tree
        Pytree of float32 and float64 arrays.

    Returns
    -------
    list of arrays
        [D'] of all small leaves, where there are any, and the large ones in their shapes.
    """
    leaves = jax.tree.leaves(tree)
    dtype = max((leaf.dtype for leaf in leaves), key=lambda dtype: dtype.itemsize)
    small = [jnp.ravel(leaf).astype(dtype) for leaf in leaves if leaf.size < LARGE]
    joined = [jnp.concatenate(small)] if small else []
    return [*joined, *(leaf.astype(dtype) for leaf in leaves if leaf.size >= LARGE)]


def from_few_leaves(few: list[jax.Array], like: chex.ArrayTree) -> chex.ArrayTree:
    """Undo `few_leaves`.

    Parameters
    ----------
    few
        Off a tree of these shapes.
    like
        Pytree of arrays.

    Returns
    -------
    pytree
        In the dtypes of the latter.
    """
    leaves, structure = jax.tree.flatten(like)
    small = [leaf for leaf in leaves if leaf.size < LARGE]
    pieces = iter(jax.tree.leaves(unflatten(few[0], small)) if small else [])
    large = iter(few[1:] if small else few)
    found = [next(pieces if leaf.size < LARGE else large).astype(leaf.dtype) for leaf in leaves]
    return structure.unflatten(found)


def safe_norm(vector: Float[Array, "..."]) -> Float[Array, ""]:
    """Euclidean norm whose squares neither overflow nor vanish.

    Parameters
    ----------
    vector
        Any array.

    Returns
    -------
    array
        A number.
    """
    largest = jnp.max(jnp.abs(vector), initial=0.0)
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.sqrt(jnp.sum((vector / scale) ** 2))


def unit(vector: Float[Array, "..."]) -> Float[Array, "..."]:
    """Divide a vector by its norm; zeros stay zeros.

    Parameters
    ----------
    vector
        Any array.

    Returns
    -------
    array
    """
    norm = safe_norm(vector)
    return vector / jnp.where(norm > 0, norm, 1.0)
