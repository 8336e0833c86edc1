"""What a caller hands to a sweep, checked at the door."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.checks import check_count, check_number, check_process
from gdx.stepping.keys import wrap_legacy
from gdx.sweeps.runs import Stopping

LONGEST_HORIZON = 2**30
"""Steps; they are counted in int32, and a block may reach beyond the horizon by as much again."""
MOST_RUNS = 2**31 - 2**20
"""They are numbered in int32, with room for padding."""


def check_horizon(name: str, value: Any, remedy: str = "pass the horizon in steps") -> int:
    """Return a number of steps that can be counted.

    Parameters
    ----------
    name, value, remedy
        As in `check_count`.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is no whole number, below 1 or above `LONGEST_HORIZON`.
    """
    num_steps = check_count(name, value, remedy)
    if num_steps > LONGEST_HORIZON:
        raise ValueError(
            f"{name}: {num_steps} is above {LONGEST_HORIZON}, up to which steps are counted; pass a shorter horizon"
        )
    return num_steps


def check_total(num_points: int, num_repeats: int, bytes_per_run: int) -> None:
    """Refuse a grid whose facts could not be held.

    Parameters
    ----------
    num_points, num_repeats
        S and R.
    bytes_per_run
        Of one run's facts.

    Raises
    ------
    ValueError
        If there are more runs than can be numbered, or their facts need more memory than this machine has.
    """
    total = num_points * num_repeats
    what = f"step_sizes: {num_points} of them with {num_repeats} keys are {total} runs"
    if total > MOST_RUNS:
        raise ValueError(f"{what}, above {MOST_RUNS}; pass the grid in parts")
    check_memory(f"{what}, whose facts", total * bytes_per_run, "pass the grid in parts")


def check_memory(what: str, needed: int, remedy: str) -> None:
    """Refuse what could not be held, before any of it is made.

    Parameters
    ----------
    what, remedy
        What it is, and what to do instead.
    needed
        Bytes.

    Raises
    ------
    ValueError
        If this machine has less memory than that.
    """
    there = _memory_bytes()
    if needed > there:
        needs, has = f"{needed / 2**30:.3g} GiB", f"{there / 2**30:.3g}"
        raise ValueError(f"{what} take {needs} of memory where this machine has {has}; {remedy}")


def check_keys(keys: Any) -> jax.Array:
    """Return random keys as an array of typed keys, [R].

    Parameters
    ----------
    keys
        Typed keys, [R], one a repeat; an array [R, 2] of legacy keys becomes typed ones.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If they are no keys, or not one-dimensional.
    """
    check_process()
    wrapped = wrap_legacy(keys)
    keys = keys if wrapped is None else wrapped
    dtype, shape = getattr(keys, "dtype", None), tuple(getattr(keys, "shape", None) or ())
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        what = f"{dtype} of shape {shape}" if dtype is not None else type(keys).__name__
        raise ValueError(
            f"keys: {what}, no random keys [R]; pass jax.random.split(jax.random.key(0), R), "
            "or wrap key data of another kind with jax.random.wrap_key_data"
        )
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
        above 0, all must be finite, in the precision in use.

    Returns
    -------
    pytree, int

    Raises
    ------
    ValueError
        If a leaf is empty, not one-dimensional, not a real number, out of range, or of another length.
    """
    bare = _is_list(hyperparams) or jax.tree_util.all_leaves([hyperparams])
    leaves, structure = jax.tree.flatten_with_path(hyperparams, is_leaf=_is_list)
    if not leaves:
        raise ValueError("hyperparams: there are none; pass step sizes [S] or a pytree of arrays [S]")
    length, floating = None, []
    for path, leaf in leaves:
        name = "step_sizes" if bare else "hyperparams" + jax.tree_util.keystr(path)
        if _is_list(leaf):
            leaf = jnp.asarray(leaf) if any(isinstance(item, Tracer) for item in leaf) else np.asarray(leaf)
        floating.append(_checked_leaf(name, leaf, bare or name.endswith("['step_size']")))
        if length is not None and np.shape(leaf)[0] != length:
            raise ValueError(
                f"{name}: length {np.shape(leaf)[0]} differs from {length} of the leaves before it; "
                "give every leaf the same length [S]"
            )
        length = np.shape(leaf)[0]
    return structure.unflatten(floating), int(length or 0)


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
        If they are none, a bound is not in (0, inf), or is on a fact that is left out.
    """
    if not isinstance(stopping, Stopping):
        raise ValueError(f"stopping: {stopping!r} is no gdx.Stopping; pass one, as gdx.Stopping(converged=True)")
    for name in ("gradient_norm", "loss_change"):
        bound = getattr(stopping, name)
        if bound is not None:
            check_number(name, bound, 0, np.inf, "pass a small bound, as 1e-6, or None")
    if stopping.gradient_norm is not None and "gradient" not in facts:
        raise ValueError("gradient_norm: the sweep leaves gradients out; keep 'gradient' among its facts")


def _is_list(value):
    """Plain numbers in a list or a tuple: an axis, and no pytree of them."""
    is_plain = isinstance(value, (list, tuple)) and not hasattr(value, "_fields")
    return is_plain and all(np.ndim(item) == 0 for item in value)


def _checked_leaf(name, leaf, positive):
    """One axis of hyperparameters as a floating array, where every value is what was asked for."""
    if np.ndim(leaf) != 1:
        raise ValueError(f"{name}: shape {np.shape(leaf)} is not one-dimensional; pass an array [S]")
    if np.shape(leaf)[0] == 0:
        raise ValueError(f"{name}: it is empty; pass at least one value")
    dtype = getattr(leaf, "dtype", None) or np.asarray(leaf).dtype
    is_real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    if not is_real and not _holds_big_integers(leaf):
        raise ValueError(f"{name}: dtype {dtype} is no real number; pass floating values")
    kept = jnp.promote_types(dtype, jnp.result_type(float)) if is_real else jnp.result_type(float)
    if isinstance(leaf, Tracer):
        return leaf.astype(kept)
    # By way of float64: as an int32 2**40 would be 0.
    values = np.asarray(leaf, np.float64)
    wrong = ~np.isfinite(values) | (positive & (values <= 0))
    if np.any(wrong):
        kind = "outside (0, inf)" if positive else "not finite"
        raise ValueError(f"{name}: {values[np.argmax(wrong)]} is {kind}; leave it out")
    kept = jax.dtypes.canonicalize_dtype(kept)
    limits = jnp.finfo(kept)
    # Smaller ones than the smallest normal number are computed with as 0.
    lost = (np.abs(values) > float(limits.max)) | ((values != 0) & (np.abs(values) < float(limits.tiny)))
    if np.any(lost):
        raise ValueError(
            f"{name}: {values[np.argmax(lost)]} is outside what {kept} holds, {float(limits.tiny):.2g} to "
            f'{float(limits.max):.2g}; leave it out, or call jax.config.update("jax_enable_x64", True)'
        )
    return jnp.asarray(values.astype(kept))


def _holds_big_integers(leaf):
    """Whole numbers beyond int64 make an array of objects."""
    values = np.asarray(leaf)
    return values.dtype == object and all(isinstance(value, (int, float)) for value in values)


def _memory_bytes():
    """Memory of this machine; where it does not tell, all there could be."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**63
