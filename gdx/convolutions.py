"""Convolutions in the one form that XLA is fast at inside of loops on a CPU.

XLA's CPU compiler has a fast routine for convolutions of examples first and channels last. Others it brings to that
form by transposing, which costs little, but it does so outside of loops alone: inside of one the gradient by the
filter, whose examples and channels have changed places, runs 10 to 100 times slower (jax issue 12868). Here the
transposing is done beforehand, in the program of whatever is going to be looped over; nothing else of it changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.extend import core

CONVOLUTION = "conv_general_dilated"


def fast_in_loops(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that computes the same, with its convolutions in the form that loops on a CPU need.

    Parameters
    ----------
    function
        Pure, of pytrees of arrays.

    Returns
    -------
    callable
        The function itself to anybody who calls it outside of a trace, on another device, or where it holds no
        convolution. The values agree with the function's to rounding.
    """
    seen: dict[Any, bool] = {}

    def called(*args):
        leaves, structure = jax.tree.flatten(args)
        if jax.default_backend() != "cpu" or not any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args)
        shapes = structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        if seen.get(shapes, True):
            program, out = jax.make_jaxpr(function, return_shape=True)(*args)
            seen[shapes] = holds_convolution(program.jaxpr)
            if seen[shapes]:
                found = core.jaxpr_as_fun(_rewritten(program, {}))(*leaves)
                return jax.tree.unflatten(jax.tree.structure(out), [jnp.asarray(leaf) for leaf in found])
        return function(*args)

    return called


def holds_convolution(jaxpr: Any) -> bool:
    """Say whether a program convolves anywhere, in whatever loops, branches and calls it holds.

    Parameters
    ----------
    jaxpr
        Open or closed.

    Returns
    -------
    bool
    """
    if isinstance(jaxpr, core.ClosedJaxpr):
        jaxpr = jaxpr.jaxpr
    return any(
        equation.primitive.name == CONVOLUTION or any(holds_convolution(part) for part in _programs(equation.params))
        for equation in jaxpr.eqns
    )


def _programs(value):
    """All programs among the parameters of an equation."""
    if isinstance(value, (core.ClosedJaxpr, core.Jaxpr)):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [program for part in value for program in _programs(part)]


def _rewritten(value, done):
    """The same parameter of an equation, or program, with other convolutions; a program used twice is one still."""
    if isinstance(value, (tuple, list)) and _programs(value):
        return type(value)(_rewritten(part, done) for part in value)
    if not isinstance(value, (core.ClosedJaxpr, core.Jaxpr)) or not holds_convolution(value):
        return value
    if id(value) not in done:
        if isinstance(value, core.ClosedJaxpr):
            new = value.replace(jaxpr=_rewritten(value.jaxpr, done))
        else:
            new = value.replace(eqns=[_equation(equation, done) for equation in value.eqns])
        # The old program is kept too, so that no other gets its address.
        done[id(value)] = value, new
    return done[id(value)][1]


def _equation(equation, done):
    if equation.primitive.name != CONVOLUTION:
        return equation.replace(params={name: _rewritten(value, done) for name, value in equation.params.items()})
    shapes = [variable.aval for variable in equation.invars]
    # The body of a call takes the equation's place, so that no primitive has to be known here but this one.
    call = jax.make_jaxpr(jax.jit(lambda *args: _convolve(*args, **equation.params)))(*shapes).jaxpr.eqns[0]
    return equation.replace(primitive=call.primitive, params=call.params)


def _convolve(lhs, rhs, *, dimension_numbers, feature_group_count, batch_group_count, **others):
    """The primitive's own arguments and result, examples first and channels last in between."""
    lhs_spec, rhs_spec, out_spec = (tuple(spec) for spec in dimension_numbers)
    last = len(lhs_spec) - 1
    lhs = lax.transpose(lhs, (lhs_spec[0], *lhs_spec[2:], lhs_spec[1]))
    rhs = lax.transpose(rhs, (*rhs_spec[2:], rhs_spec[1], rhs_spec[0]))
    if batch_group_count > 1:
        # Groups of examples, each with filters of its own, are groups of channels of fewer examples.
        lhs = lhs.reshape(batch_group_count, -1, *lhs.shape[1:])
        lhs = jnp.moveaxis(lhs, 0, -2)
        lhs = lhs.reshape(*lhs.shape[:-2], -1)
    inner = tuple(range(1, last))
    numbers = lax.ConvDimensionNumbers((0, last, *inner), (last, last - 1, *range(last - 1)), (0, last, *inner))
    out = lax.conv_general_dilated_p.bind(
        lhs,
        rhs,
        dimension_numbers=numbers,
        feature_group_count=feature_group_count * batch_group_count,
        batch_group_count=1,
        **others,
    )
    order = [0] * (last + 1)
    for source, target in zip((0, last, *inner), out_spec, strict=True):
        order[target] = source
    return lax.transpose(out, order)
