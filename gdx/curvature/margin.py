"""How close a running job is to its edge, watched from inside of its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gdx.curvature.eigenpairs import sharpness
from gdx.curvature.inputs import check_count, widened
from gdx.curvature.preconditioners import Reader, make_reader
from gdx.curvature.products import hvp
from gdx.curvature.responses import Response, measure_response
from gdx.curvature.thresholds import smallest_real_gain

if TYPE_CHECKING:
    import chex

FIRST_PRODUCTS = 32
"""Hessian products that a measurement may spend where it has no vector to begin from."""
FIRST_RTOL = 1e-2
LOST = 0.25
"""Share of the last sharpness below which a new one says that the vector has lost the top, as it does when a
preconditioner is young: then as many products are spent as at first."""
DECAY_GRID = np.concatenate([[0.0], np.geomspace(1e-4, 1e8, 49)])
"""Curvatures, in units of the weight decay, at which the critical step size is tabulated."""


class EdgeMarginState(NamedTuple):
    """What `edge_margin` carries and tells; numbers are float32 or wider, NaN before the first update."""

    inner: optax.OptState
    """Of the optimizer itself."""
    num_updates: chex.Array
    """Updates made, int32."""
    step_size: chex.Array
    """Of the last update."""
    sharpness: chex.Array
    """Largest eigenvalue of the Hessian, or of P^-1/2 H P^-1/2 where the optimizer divides by a P, as last measured; it
    follows the true one from below, a few measurements behind."""
    threshold: chex.Array
    """Critical step size times sharpness."""
    margin: chex.Array
    """Step size times sharpness over threshold: 1 at the edge of stability, more beyond."""
    vector: chex.ArrayTree
    """The vector whose Rayleigh quotient the sharpness is, of length 1, shaped as the parameters."""
    direction: chex.ArrayTree
    """In which that quotient was last seen to rise, of length 1 or 0."""


def edge_margin(
    family: Callable[[Any], optax.GradientTransformation],
    step_size: optax.ScalarOrSchedule,
    loss: Callable[..., jax.Array],
    every: int = 10,
) -> optax.GradientTransformationExtraArgs:
    """Watch how far an optimizer is from its edge of stability, without changing its updates.

    The updates are those of `family(step_size)`. Every few of them one Hessian product, at the parameters of that
    update, brings the sharpness up to date. The first measurement makes up to 32 products, and so does one that finds
    less than a quarter of the sharpness before it. A product over the batch that is trained on costs two to three
    gradients; a quarter of the batch is enough to watch, and costs a quarter of that.

    Parameters
    ----------
    family
        `step_size -> optax transformation`, linear in the gradients, or so with its preconditioner held fixed; see
        `curvature_threshold`. Weight decay is taken into account.
    step_size
        A number above 0, traced or not, or a schedule, `count -> number`; the family is called with its value.
    loss
        `loss(params) -> scalar`, or `loss(params, batch)` where `batch=` is passed to `update`; twice differentiable.
    every
        Updates between two measurements, at least 1.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        Its state is an `EdgeMarginState`. `update(gradient, state, params, batch=...)` needs the parameters; other
        keywords go through to the optimizer.

    Raises
    ------
    ValueError
        If an argument is out of range, the optimizer has no threshold, or, on update, the parameters are missing.

    Notes
    -----
    Lanczos with a memory of one vector, spread over the training: by turns a measurement multiplies the vector, which
    gives its Rayleigh quotient and the direction in which that rises, and this direction, which gives the best vector
    of the plane of both. A product that is not finite makes the measurement NaN and leaves the vector as it was. A
    batch of its own makes every measurement a noisy one. Under vmap every update measures: both branches are computed.

    With gradient descent on a full batch the margin climbs to 1 and hovers there (Cohen et al., arXiv 2103.00065); with
    Adam that of the preconditioned Hessian does (arXiv 2207.14484).

    Examples
    --------
    >>> watched = gdx.edge_margin(optax.adam, 1e-3, loss)
    >>> state = watched.init(params)
    >>> updates, state = watched.update(jax.grad(loss)(params), state, params)
    >>> state.margin
    """
    check_count("every", every, 1, "pass 1 to measure at every update")
    _check_step_size(step_size)
    if not callable(loss):
        raise ValueError(f"loss: {loss!r} is not callable; pass a function loss(params) or loss(params, batch)")
    limit_at = _limit(measure_response(family))
    readers: dict[Any, Reader] = {}

    def reader(params):
        key = jax.tree.structure(params), tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params))
        if key not in readers:
            readers[key] = make_reader(family, params)
        return readers[key]

    def init_fn(params):
        reader(params)
        nothing = jnp.full((), jnp.nan, _wide(params))
        start = jax.tree.map(jnp.zeros_like, widened(params))
        inner = family(_step_at(step_size, jnp.zeros((), jnp.int32), params)).init(params)
        return EdgeMarginState(inner, jnp.zeros((), jnp.int32), nothing, nothing, nothing, nothing, start, start)

    def update_fn(updates, state, params=None, *, batch: Any = None, **extra_args):
        if params is None:
            raise ValueError("params: missing; curvature is measured there, so pass update(gradient, state, params)")
        step = _step_at(step_size, state.num_updates, params)
        inner = optax.with_extra_args_support(family(step))
        new_updates, opt_state = inner.update(updates, state.inner, params, **extra_args)
        opt_state = jax.tree.map(
            lambda new, old: jnp.asarray(new).astype(jnp.asarray(old).dtype), opt_state, state.inner
        )
        at_batch = loss if batch is None else (lambda params: loss(params, batch))

        def measure(operands):
            opt_state, params, state = operands
            diagonal = reader(params).read(opt_state, params)
            found = _next(at_batch, params, diagonal, state, state.num_updates // every)
            is_lost = (optax.tree.norm(state.vector) == 0) | (found[0] < LOST * state.sharpness)
            return jax.lax.cond(is_lost, lambda: _anew(at_batch, params, diagonal, state), lambda: found)

        def keep(operands):
            state = operands[2]
            return state.sharpness, state.vector, state.direction

        operands = (opt_state, params, state._replace(inner=()))
        found, *vectors = jax.lax.cond(state.num_updates % every == 0, measure, keep, operands)
        limit, threshold = limit_at(found)
        dtype = state.margin.dtype
        numbers = (jnp.asarray(number, dtype) for number in (step, found, threshold, step * limit))
        return new_updates, EdgeMarginState(opt_state, state.num_updates + 1, *numbers, *vectors)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _anew(loss, params, diagonal, state):
    """Lanczos, for want of a vector."""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    found = sharpness(loss, params, preconditioner=diagonal, num_iters=min(FIRST_PRODUCTS, size), rtol=FIRST_RTOL)
    is_finite = jnp.isfinite(found.value)
    vector = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old).astype(old.dtype), found.vector, state.vector)
    return found.value.astype(state.sharpness.dtype), vector, state.direction


def _next(loss, params, diagonal, state, index):
    """One product: by turns of the vector and of the direction in which its Rayleigh quotient rises."""
    x, direction = state.vector, state.direction
    refreshes = (index % 2 == 1) | jnp.isnan(state.sharpness) | (optax.tree.norm(direction) == 0)
    one = jax.tree.map(lambda x, d: jnp.where(refreshes, x, d), x, direction)
    roots = jax.tree.map(lambda p, v: jnp.sqrt(p.astype(v.dtype)), diagonal, x)
    image = jax.tree.map(jnp.divide, hvp(loss, params, jax.tree.map(jnp.divide, one, roots)), roots)
    across, along = jnp.asarray(optax.tree.vdot(x, image)), jnp.asarray(optax.tree.vdot(one, image))

    def refreshed():
        rest = jax.tree.map(lambda i, x: i - along * x, image, x)
        length = optax.tree.norm(rest)
        return along, x, jax.tree.map(lambda r: r / jnp.where(length > 0, length, 1.0), rest)

    def improved():
        # By this angle the best vector of the plane is turned from the one at hand.
        angle = (0.5 * jnp.arctan2(2 * across, state.sharpness - along)).astype(along.dtype)
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        value = cosine**2 * state.sharpness + 2 * cosine * sine * across + sine**2 * along
        turned = jax.tree.map(lambda x, d: cosine * x + sine * d, x, direction)
        length = optax.tree.norm(turned)
        return value.astype(along.dtype), jax.tree.map(lambda leaf: leaf / length, turned), direction

    value, *vectors = jax.tree.map(lambda a, b: jnp.where(refreshes, a, b), refreshed(), improved())
    is_finite = jnp.isfinite(value)
    kept = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old).astype(old.dtype), vectors, [x, direction])
    return value.astype(state.sharpness.dtype), *kept


def _limit(response: Response) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """One over the critical step size, and that step size times the sharpness, as functions of the sharpness."""
    if not np.any(response.params):
        constant = smallest_real_gain(response.gradient)
        return lambda sharpness: (sharpness / constant, jnp.full_like(sharpness, constant))
    grid = DECAY_GRID * np.max(np.abs(response.params))
    # A straight line for as long as one frequency is the first to grow.
    inverse = np.asarray(
        [1 / smallest_real_gain(curvature * response.gradient + response.params) for curvature in grid]
    )

    def limit(sharpness):
        beyond = jnp.maximum(sharpness / grid[-1], 1.0)
        found = beyond * jnp.interp(sharpness, grid, inverse)
        return found, sharpness / found

    return limit


def _step_at(step_size, count, params):
    if not callable(step_size):
        return step_size
    # A schedule's own dtype would widen the updates.
    return jnp.asarray(step_size(count), jnp.result_type(*jax.tree.leaves(params)))


def _wide(params):
    return jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)


def _check_step_size(step_size):
    if callable(step_size) or isinstance(step_size, Tracer):
        return
    if not (np.ndim(step_size) == 0 and np.isfinite(step_size) and step_size > 0):
        raise ValueError(f"step_size: {step_size} is outside (0, inf); pass a number above 0, or a schedule")
