"""Which parameters an optimizer provably never moves.

A frozen leaf's gradient stays as it is however long a run trains, so that facts about the gradient are about the rest.
The proof follows zeros through the program of the update: a number is surely zero where it is a product with a zero, a
sum of zeros and so on, whatever the gradients and however the state came about. What is not followed counts as moving.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

if TYPE_CHECKING:
    import chex

ZERO_AT_ZERO = (
    *("neg", "sign", "abs", "sqrt", "cbrt", "square", "real", "imag", "conj", "floor", "ceil", "round"),
    *("sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "expm1", "log1p", "erf", "erf_inv"),
    *("copy", "copy_p", "convert_element_type", "reduce_precision", "stop_gradient", "optimization_barrier"),
)
"""Primitives, entry by entry, whose value at 0 is 0."""
REARRANGING = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "rev")
"""Primitives that put entries elsewhere."""
REDUCING = ("reduce_sum", "reduce_max", "reduce_min", "cumsum")
CALLING = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")


def never_moved(
    init: Callable[[Any], Any], update: Callable[[Any, Any, Any], tuple[Any, Any]], params: chex.ArrayTree
) -> chex.ArrayTree:
    """Find the entries of parameters that an optimizer leaves as they are, whatever happens.

    Parameters
    ----------
    init
        `init(params) -> state` of an optimizer.
    update
        `update(gradient, state, params) -> (updates, state)`.
    params
        Shapes of the parameters.

    Returns
    -------
    pytree
        As the parameters, NumPy arrays of bool, each of its leaf's shape: True where every update is surely zero. A
        gradient that is not finite is left out of account, since it ends a run.
    """
    flat, structure = jax.tree.flatten(params)
    begin, opt_state = jax.make_jaxpr(init, return_shape=True)(params)
    state = _follow(begin, [_nowhere(leaf) for leaf in flat])
    program = jax.make_jaxpr(lambda *args: jax.tree.leaves(update(*args)))(params, opt_state, params)
    anything = [_nowhere(leaf) for leaf in flat]
    while True:
        # What is zero at first and stays zero, if all that is assumed to be zero is.
        found = _follow(program, [*anything, *state, *anything])
        updates, after = found[: len(flat)], found[len(flat) :]
        kept = [old & new for old, new in zip(state, after, strict=True)]
        if all(np.array_equal(old, new) for old, new in zip(state, kept, strict=True)):
            return structure.unflatten(updates)
        state = kept


def without_frozen(gradient: chex.ArrayTree, frozen: chex.ArrayTree | None) -> chex.ArrayTree:
    """Set a gradient to zero where nothing moves.

    Parameters
    ----------
    gradient, frozen
        Pytrees of arrays, and of NumPy bool as `never_moved` gives it; None for nothing frozen.

    Returns
    -------
    pytree
    """
    if frozen is None:
        return gradient

    def masked(leaf, still):
        if not np.any(still):
            return leaf
        return jnp.zeros_like(leaf) if np.all(still) else jnp.where(still, jnp.zeros_like(leaf), leaf)

    return jax.tree.map(masked, gradient, frozen)


def _follow(closed, known):
    """Where each output of a program is surely zero, given where each of its inputs is."""
    jaxpr = getattr(closed, "jaxpr", closed)
    zeros = dict(zip(jaxpr.invars, known, strict=True))
    zeros |= {constant: _is_zero(value, constant.aval) for constant, value in _consts(closed, jaxpr)}

    def read(variable):
        if hasattr(variable, "val"):
            return _is_zero(variable.val, variable.aval)
        return zeros.get(variable, _nowhere(variable.aval))

    for equation in jaxpr.eqns:
        shapes = [variable.aval for variable in equation.outvars]
        found = _through(equation, [read(variable) for variable in equation.invars], shapes)
        zeros |= zip(equation.outvars, found, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _consts(closed, jaxpr):
    """Pairs of variable and value; those of a program without its constants are unknown."""
    return zip(jaxpr.constvars, getattr(closed, "consts", [None] * len(jaxpr.constvars)), strict=True)


def _through(equation, inputs, shapes):
    """One equation of `_follow`."""
    name = equation.primitive.name
    program = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if name in CALLING and program is not None:
        return _follow(program, inputs)
    if name == "cond":
        branches = [_follow(branch, inputs[1:]) for branch in equation.params["branches"]]
        return [np.logical_and.reduce(found) for found in zip(*branches, strict=True)]
    if len(shapes) != 1:
        return [_nowhere(shape) for shape in shapes]
    return [_one_output(equation, name, inputs, shapes[0])]


def _one_output(equation, name, inputs, aval):
    """Where the one output of an equation without programs is surely zero."""
    if not inputs:
        return _nowhere(aval)
    first = inputs[0]
    if name in ZERO_AT_ZERO and len(inputs) == 1:
        return first
    # A zero divided by zero is no number, which ends the run, and so does zero times an infinite gradient.
    if name == "mul":
        return np.broadcast_to(np.logical_or(*inputs), aval.shape)
    if name in ("div", "rem"):
        return np.broadcast_to(first, aval.shape)
    if name in ("add", "sub", "add_any", "max", "min"):
        return np.broadcast_to(np.logical_and(*inputs), aval.shape)
    if name == "select_n":
        both = np.logical_and.reduce(np.broadcast_arrays(*inputs[1:]))
        return np.broadcast_to(both | (first & inputs[1]), aval.shape)
    if name == "integer_pow" and equation.params["y"] > 0:
        return first
    if name == "dot_general":
        return _all_over(aval, any(zero.all() for zero in inputs))
    if name == "concatenate":
        return np.concatenate(inputs, axis=equation.params["dimension"])
    if name in REDUCING:
        return _all_over(aval, first.all())
    if name in REARRANGING:
        if first.all() or not first.any():
            return _all_over(aval, first.all())
        with jax.ensure_compile_time_eval():
            return np.asarray(equation.primitive.bind(jnp.asarray(first), **equation.params))
    return _nowhere(aval)


def _is_zero(value, aval):
    known = not isinstance(value, Tracer) and getattr(value, "dtype", None) is not None
    if not known or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return _nowhere(aval)
    return np.asarray(value) == 0


def _nowhere(aval):
    return _all_over(aval, False)


def _all_over(aval, zero):
    return np.broadcast_to(np.bool_(zero), getattr(aval, "shape", ()))
