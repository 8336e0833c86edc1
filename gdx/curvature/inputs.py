"""What a caller hands to a measurement of curvature, checked at the door.

A traced value has no number yet: only its structure, shape and dtype are checked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.checks import check_process, inside

if TYPE_CHECKING:
    import chex


def widened(params: Any) -> chex.ArrayTree:
    """Return parameters that can be differentiated twice, in float32 or wider.

    Parameters
    ----------
    params
        Pytree of real floating arrays, D >= 1 numbers in all.

    Returns
    -------
    pytree
        The same numbers; leaves narrower than float32 come back as float32.

    Raises
    ------
    ValueError
        If there is no number in it, a leaf is not real and floating, or a concrete number is not finite.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    if sum(np.size(leaf) for _, leaf in leaves) == 0:
        raise ValueError("params: they hold no number at all; pass at least one floating parameter")
    return structure.unflatten([_floating("params", path, leaf) for path, leaf in leaves])


def like_params(name: str, value: Any, params: chex.ArrayTree, *, is_bounded: bool = True) -> chex.ArrayTree:
    """Return a direction in parameter space, in the dtypes of the widened parameters.

    Parameters
    ----------
    name
        Of the argument.
    value
        What was passed for it.
    params
        Widened parameters.
    is_bounded
        Whether an infinite number is refused too.

    Returns
    -------
    pytree
        The same numbers.

    Raises
    ------
    ValueError
        If structure or shapes are not those of the parameters, or it holds anything but finite real numbers.
    """
    if jax.tree.structure(value) != jax.tree.structure(params):
        raise ValueError(
            f"{name}: its structure {jax.tree.structure(value)} is not that of params, "
            f"{jax.tree.structure(params)}; pass a pytree shaped as the parameters"
        )
    leaves, structure = jax.tree_util.tree_flatten_with_path(value)
    found = []
    for (path, leaf), param in zip(leaves, jax.tree.leaves(params), strict=True):
        if np.shape(leaf) != np.shape(param):
            raise ValueError(
                f"{name}: its leaf{_place(path)} has shape {np.shape(leaf)}, the parameter's is {np.shape(param)}; "
                "pass a pytree shaped as the parameters"
            )
        found.append(_floating(name, path, leaf, is_bounded).astype(param.dtype))
    return structure.unflatten(found)


def check_not_zero(name: str, value: chex.ArrayTree) -> None:
    """Check that a concrete direction points somewhere.

    Parameters
    ----------
    name, value
        The argument and what was passed for it.

    Raises
    ------
    ValueError
        If all its numbers are 0.
    """
    leaves = jax.tree.leaves(value)
    if not any(isinstance(leaf, Tracer) for leaf in leaves) and not any(np.any(np.asarray(leaf)) for leaf in leaves):
        raise ValueError(f"{name}: it is zero everywhere; pass a direction that points somewhere")


def preconditioner_like(preconditioner: Any, params: chex.ArrayTree) -> chex.ArrayTree:
    """Return a positive diagonal as a pytree shaped as the parameters.

    Parameters
    ----------
    preconditioner
        A number, or a pytree shaped as the parameters; infinite where a parameter is never moved.
    params
        Widened parameters.

    Returns
    -------
    pytree
        The diagonal.

    Raises
    ------
    ValueError
        If structure or shapes differ, or a concrete entry is not above 0.
    """
    alone = jax.tree.structure(0)
    is_number = jax.tree.structure(preconditioner) == alone and np.shape(preconditioner) == ()
    if is_number:
        number = preconditioner
        preconditioner = jax.tree.map(
            lambda leaf: jnp.broadcast_to(jnp.asarray(number, leaf.dtype), leaf.shape), params
        )
    diagonal = like_params("preconditioner", preconditioner, params, is_bounded=False)
    for leaf in jax.tree.leaves(diagonal):
        if not isinstance(leaf, Tracer) and np.size(leaf) and not np.min(np.asarray(leaf)) > 0:
            raise ValueError(
                f"preconditioner: its smallest entry is {np.min(np.asarray(leaf))}, but all must be above 0; "
                "add the optimizer's eps"
            )
    return diagonal


def check_batches(batches: Any) -> int | None:
    """Count batches.

    Parameters
    ----------
    batches
        Pytree of arrays [K, ...], or None.

    Returns
    -------
    int or None
        K.

    Raises
    ------
    ValueError
        If leaves disagree on K, one has no axis at all, or there is no batch.
    """
    if batches is None:
        return None
    counts = set()
    for path, leaf in jax.tree_util.tree_flatten_with_path(batches)[0]:
        if np.ndim(leaf) == 0:
            raise ValueError(f"batches: its leaf{_place(path)} has no leading axis; stack K batches to [K, ...]")
        counts.add(np.shape(leaf)[0])
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"batches: the leading axes of its leaves are {sorted(counts)}, but all must be the same K of at least 1; "
            "stack K batches to [K, ...]"
        )
    return counts.pop()


def check_scalar_loss(loss: Callable[..., Any], params: chex.ArrayTree, batches: Any) -> None:
    """Check, without computing anything, that a loss returns one real floating number.

    Parameters
    ----------
    loss
        `loss(params)`, or `loss(params, batch)` where there are batches.
    params
        Widened parameters.
    batches
        Pytree of arrays [K, ...], or None.

    Raises
    ------
    ValueError
        If it returns anything else, or raises; in a process that cannot compute.
    """
    check_process()
    with inside("loss"):
        if batches is None:
            made = jax.eval_shape(loss, params)
        else:
            made = jax.eval_shape(
                lambda params, batches: loss(params, jax.tree.map(lambda x: x[0], batches)), params, batches
            )
    if jax.tree.structure(made) != jax.tree.structure(0):
        raise ValueError(f"loss: it returns {jax.tree.structure(made)}, not one number; return the loss alone")
    if made.shape != () or not jnp.issubdtype(made.dtype, jnp.floating):
        raise ValueError(
            f"loss: it returns {made.dtype} of shape {made.shape}, not one floating number; take a mean over examples"
        )


def check_rtol(rtol: Any) -> None:
    """Check a relative tolerance.

    Parameters
    ----------
    rtol
        A number.

    Raises
    ------
    ValueError
        If it is concrete and outside [0, 1).
    """
    if not isinstance(rtol, Tracer) and not 0 <= float(rtol) < 1:
        raise ValueError(f"rtol: {rtol} is outside [0, 1); pass 0 for all that rounding allows")


def clamped(num_iters: int, size: int) -> int:
    """Return a number of products that is not above the number of parameters, and say so where it was.

    Parameters
    ----------
    num_iters
        What the caller asked for.
    size
        D.

    Returns
    -------
    int
    """
    if num_iters > size:
        warnings.warn(
            f"num_iters: {num_iters} is above the number of parameters, {size}; no more than {size} products are made",
            stacklevel=4,
        )
    return min(num_iters, size)


def _floating(name, path, leaf, is_bounded=True):
    try:
        array = jnp.asarray(leaf)
    except TypeError:
        array = None
    if array is None or not jnp.issubdtype(array.dtype, jnp.floating):
        kind = type(leaf).__name__ if array is None else array.dtype
        remedy = "keep apart what cannot be differentiated" if name == "params" else "pass floating numbers"
        raise ValueError(f"{name}: its leaf{_place(path)} is {kind}, not real and floating; {remedy}")
    array = array if array.dtype == jnp.float64 else array.astype(jnp.float32)
    is_fine = np.isfinite if is_bounded else (lambda numbers: ~np.isnan(numbers))
    if not isinstance(array, Tracer) and not np.all(is_fine(np.asarray(array))):
        raise ValueError(f"{name}: its leaf{_place(path)} is not finite; pass finite numbers only")
    return array


def _place(path):
    place = jax.tree_util.keystr(path)
    return f" {place}" if place else ""
