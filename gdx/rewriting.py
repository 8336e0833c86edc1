"""Programs as XLA's CPU compiler likes them: the same values, some equations in another form.

Convolutions. There is a fast routine for convolutions of examples first and channels last. Others XLA brings to that
form by transposing, which costs little, but it does so outside of loops alone: inside of one the gradient by the
filter, whose examples and channels have changed places, runs 10 to 100 times slower (jax issue 12868). Here the
transposing is done beforehand.

Random draws. XLA unrolls loops over short axes, which for the hundred operations of a random number takes it up to
ten times as long to compile, 1.4 s for a filter of shape (3, 3, 8, 16). Drawn in one row they are the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.extend import core

CONVOLUTION = "conv_general_dilated"
DRAW = "random_bits"
IN_ANY_SHAPE = "threefry2x32"
"""The kind of key whose bits do not depend on the shape that they are drawn in."""


def suited_to_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that computes the same, in the form that compiles and loops well on a CPU.

    Parameters
    ----------
    function
        Pure, of pytrees of arrays.

    Returns
    -------
    callable
        The function itself to anybody who calls it outside of a trace, on another device, or where it holds nothing to
        change. Convolutions agree with the function's to rounding, everything else to the bit.
    """
    changes: dict[Any, bool] = {}

    def called(*args):
        leaves, structure = jax.tree.flatten(args)
        if jax.default_backend() != "cpu" or not any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args)
        shapes = structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        if changes.get(shapes, True):
            program, out = jax.make_jaxpr(function, return_shape=True)(*args)
            changes[shapes] = _holds(program, _is_changed)
            if changes[shapes]:
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
    return _holds(jaxpr, lambda equation: equation.primitive.name == CONVOLUTION)


def _holds(jaxpr, wanted):
    return any(
        wanted(equation) or any(_holds(part, wanted) for part in _programs(equation.params)) for equation in jaxpr.eqns
    )


def _is_changed(equation):
    name = equation.primitive.name
    return name == CONVOLUTION or (name == DRAW and len(equation.params["shape"]) > 1 and _draws_rows(equation))


def _draws_rows(equation):
    return equation.invars[0].aval.dtype == jax.eval_shape(lambda: jax.random.key(0, impl=IN_ANY_SHAPE)).dtype


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
        parts = [_rewritten(part, done) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if not isinstance(value, (core.ClosedJaxpr, core.Jaxpr)) or not _holds(value, _is_changed):
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
    if not _is_changed(equation):
        return equation.replace(params={name: _rewritten(value, done) for name, value in equation.params.items()})
    form = _convolve if equation.primitive.name == CONVOLUTION else _draw
    shapes = [variable.aval for variable in equation.invars]
    # The body of a call takes the equation's place, so that no other primitive has to be known here.
    call = jax.make_jaxpr(jax.jit(lambda *args: form(equation.primitive, *args, **equation.params)))(*shapes)
    return equation.replace(primitive=call.jaxpr.eqns[0].primitive, params=call.jaxpr.eqns[0].params)


def _draw(primitive, key, *, shape, **others):
    """Draw in one row."""
    return primitive.bind(key, shape=(math.prod(shape),), **others).reshape(*key.shape, *shape)


def _convolve(primitive, lhs, rhs, *, dimension_numbers, feature_group_count, batch_group_count, **others):
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
    out = primitive.bind(
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
