"""What a caller hands to a sweep, checked at the door."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def check_count(name: str, value: Any, remedy: str) -> int:
    """Return a whole number of at least 1.

    Parameters
    ----------
    name, value, remedy
        The argument, what was passed for it, and what to pass instead.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name}: {value!r} is no whole number of at least 1; {remedy}")
    return count


def check_keys(keys: Any) -> jax.Array:
    """Return random keys as an array of typed keys, [R].

    Parameters
    ----------
    keys
        Typed keys, [R], one a repeat.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If they are legacy keys, no keys, or not one-dimensional.
    """
    dtype, shape = getattr(keys, "dtype", None), getattr(keys, "shape", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        legacy = dtype == np.uint32
        what = f"legacy uint32 keys of shape {shape}" if legacy else f"{type(keys).__name__}, no random keys"
        remedy = "wrap them with jax.random.wrap_key_data" if legacy else "pass jax.random.split(jax.random.key(0), R)"
        raise ValueError(f"keys: {what}, where an array [R] of typed keys is needed; {remedy}")
    shape = tuple(shape or ())
    if len(shape) != 1 or shape[0] < 1:
        raise ValueError(
            f"keys: shape {shape} is not [R] with R of at least 1; pass jax.random.split(jax.random.key(0), R)"
        )
    return keys


def check_hyperparams(hyperparams: Any) -> tuple[Any, int]:
    """Return hyperparameters as floating arrays [S], and S.

    Parameters
    ----------
    hyperparams
        Step sizes [S], or a pytree of arrays [S]. Values are checked where they are concrete: step sizes must be
        above 0, all must be finite.

    Returns
    -------
    pytree, int

    Raises
    ------
    ValueError
        If a leaf is empty, not one-dimensional, not a real number, out of range, or of another length.
    """
    bare = not isinstance(hyperparams, jax.Array) and jax.tree_util.all_leaves([hyperparams])
    if isinstance(hyperparams, (list, tuple)) and all(np.ndim(item) == 0 for item in hyperparams):
        hyperparams, bare = np.asarray(hyperparams), True
    bare = bare or isinstance(hyperparams, (jax.Array, np.ndarray))
    leaves = jax.tree.leaves_with_path(hyperparams)
    if not leaves:
        raise ValueError("hyperparams: there are none; pass step sizes [S] or a pytree of arrays [S]")
    length = None
    for path, leaf in leaves:
        name = "step_sizes" if bare else "hyperparams" + jax.tree_util.keystr(path)
        _check_leaf(name, leaf, positive=bare or name.endswith("['step_size']"))
        if length is not None and np.shape(leaf)[0] != length:
            raise ValueError(
                f"{name}: length {np.shape(leaf)[0]} differs from {length} of the leaves before it; "
                "give every leaf the same length [S]"
            )
        length = np.shape(leaf)[0]
    floating = jax.tree.map(_as_floating, hyperparams)
    return floating, int(length or 0)


def check_family(family: Any, hyperparams: Any) -> None:
    """Refuse a family that cannot be called with one set of hyperparameters.

    Parameters
    ----------
    family
        `hyperparams -> optax transformation`.
    hyperparams
        One set, or its shapes.

    Raises
    ------
    ValueError
        If a keyword is not one of the optimizer's, with what it takes.
    """
    try:
        signature = inspect.signature(family)
    except (TypeError, ValueError) as error:
        # A partial with a keyword that the function lacks has no signature; a builtin has none either.
        if hasattr(family, "func"):
            taken = [name for name in inspect.signature(family.func).parameters if name != "learning_rate"]
            raise ValueError(f"family: {error}; the optimizer takes {', '.join(taken)}") from None
        return
    try:
        signature.bind(hyperparams)
    except TypeError as error:
        raise ValueError(
            f"family: it cannot be called as family(hyperparams): {error}; bind the rest with functools.partial"
        ) from None


def check_stopping(stopping: Any, facts: Collection[str]) -> None:
    """Refuse stopping rules that cannot hold.

    Parameters
    ----------
    stopping
        A `Stopping`.
    facts
        What the sweep keeps.

    Raises
    ------
    ValueError
        If a bound is not in (0, inf), or is on a fact that is left out.
    """
    for name in ("gradient_norm", "loss_change"):
        bound = getattr(stopping, name)
        if bound is not None and not 0 < bound < np.inf:
            raise ValueError(f"{name}: {bound} is outside (0, inf); pass a small bound, as 1e-6, or None")
    if stopping.gradient_norm is not None and "gradient" not in facts:
        raise ValueError("gradient_norm: the sweep leaves gradients out; keep 'gradient' among its facts")


def _check_leaf(name, leaf, positive):
    if np.ndim(leaf) != 1:
        raise ValueError(f"{name}: shape {np.shape(leaf)} is not one-dimensional; pass an array [S]")
    if np.shape(leaf)[0] == 0:
        raise ValueError(f"{name}: it is empty; pass at least one value")
    dtype = getattr(leaf, "dtype", None) or np.asarray(leaf).dtype
    is_real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    if not is_real:
        raise ValueError(f"{name}: dtype {dtype} is no real number; pass floating values")
    if isinstance(leaf, Tracer):
        return
    values = np.asarray(leaf, float)
    wrong = ~np.isfinite(values) | (positive & (values <= 0))
    if np.any(wrong):
        kind = "outside (0, inf)" if positive else "not finite"
        raise ValueError(f"{name}: {values[np.argmax(wrong)]} is {kind}; leave it out")


def _as_floating(leaf):
    array = jnp.asarray(leaf)
    return array.astype(jnp.promote_types(array.dtype, jnp.result_type(float)))
