"""Random keys whose draws depend on the run alone.

Under `jax.vmap` keys of the kinds "rbg" and "unsafe_rbg" all draw from the first of them, so that a run's numbers would
depend on its neighbours. With such keys starts are drawn one after another, and batches from a key of the usual kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import chex

VMAPPED = "threefry2x32"
"""The kind of key that draws under `jax.vmap` what it draws alone."""


def batch_key(key: chex.PRNGKey) -> chex.PRNGKey:
    """Derive the key that a run's batches are drawn from.

    Parameters
    ----------
    key
        The repeat's typed key, of any kind.

    Returns
    -------
    typed key
        Of the kind "threefry2x32".
    """
    if draws_alone(key):
        mixed = jax.random.key(0, impl=VMAPPED)
        for word in jax.random.key_data(key):
            mixed = jax.random.fold_in(mixed, word)
        key = mixed
    return jax.random.fold_in(key, 0)


def draws_alone(key: chex.PRNGKey) -> bool:
    """Say whether keys of this kind draw something else under `jax.vmap` than one at a time.

    Parameters
    ----------
    key
        Typed keys of any shape.

    Returns
    -------
    bool
    """
    return key.dtype != jax.eval_shape(lambda: jax.random.key(0, impl=VMAPPED)).dtype


def for_each(function: Callable[..., Any], key: chex.PRNGKey, *args: Any) -> Any:
    """Call a function for every key, side by side where that draws the same numbers, else one after another.

    Parameters
    ----------
    function
        `function(key, *args)` of one run.
    key, *args
        Typed keys [B], and pytrees of arrays [B, ...].

    Returns
    -------
    pytree
        Leaves [B, ...].
    """
    if draws_alone(key):
        return jax.lax.map(lambda row: function(*row), (key, *args))
    return jax.vmap(function)(key, *args)


def shares_draws(jaxpr: Any) -> bool:
    """Say whether a program draws random numbers that runs side by side would share.

    Parameters
    ----------
    jaxpr
        Of the step of one run.

    Returns
    -------
    bool
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name == "rng_bit_generator":
            return True
        if equation.primitive.name in ("random_bits", "random_split", "random_fold_in"):
            if draws_alone(equation.invars[0].aval):
                return True
        elif any(shares_draws(program) for program in programs_in(equation)):
            return True
    return False


def programs_in(equation: Any) -> list[Any]:
    """Give the programs that an equation holds: the branches of a condition, the body of a loop.

    Parameters
    ----------
    equation
        Of a jaxpr.

    Returns
    -------
    list of jaxprs
    """
    found = []
    for value in equation.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                found.append(part)
    return found


def wrap_legacy(keys: Any) -> jax.Array | None:
    """Turn an array of legacy keys into typed ones.

    Parameters
    ----------
    keys
        Anything.

    Returns
    -------
    array or None
        Typed keys of shape [...], None where `keys` are no legacy keys [..., K] of the kind in use.
    """
    size = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape[-1]
    if getattr(keys, "dtype", None) != jnp.uint32 or keys.ndim < 1 or keys.shape[-1] != size:
        return None
    return jax.random.wrap_key_data(jnp.asarray(keys))
