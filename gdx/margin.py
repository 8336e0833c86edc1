"""How close a running job is to its edge, watched from inside of its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gdx.checks import check_count
from gdx.curvature.inputs import check_scalar_loss, widened
from gdx.curvature.products import twice_differentiable
from gdx.curvature.tracking import Followed, follow
from gdx.records import record
from gdx.responses.families import checked_family, concretely, remembered
from gdx.responses.parities import Parity, at_step, carriers, change, parities, update_of
from gdx.responses.preconditioners import Reader, make_reader
from gdx.responses.response import Response
from gdx.responses.scalings import stand_in_for
from gdx.responses.thresholds import step_at
from gdx.trees import few_leaves, from_few_leaves, widest

if TYPE_CHECKING:
    import chex

FAINT = 1e-4
"""Norm of a gradient that nobody clips."""
DECAY_GRID = np.concatenate([[0.0], np.geomspace(1e-4, 1e8, 49)])
"""Curvatures, in units of the weight decay, at which the critical step size is tabulated."""


@record
class EdgeMarginState(NamedTuple):
    """What `edge_margin` carries and tells; numbers are float32 or wider, NaN before the first update.

    Examples
    --------
    Continues the example of `gdx.edge_margin`.

    >>> round(float(state.margin), 3), int(state.num_updates)
    (0.5, 1)
    """

    inner: optax.OptState
    """Of the optimizer itself."""
    num_updates: chex.Array
    """Updates made, int32."""
    step_size: chex.Array
    """Of the last update. One given as a number is here from the start, and is that of the next update too."""
    sharpness: chex.Array
    """Largest eigenvalue of the Hessian, or of P^-1/2 H P^-1/2 where the optimizer divides by a P, as last measured; it
    follows the true one from below, a few measurements behind."""
    threshold: chex.Array
    """Critical step size times sharpness."""
    margin: chex.Array
    """Step size times sharpness, times the share `passed`, over threshold: 1 at the edge of stability, more beyond."""
    vector: chex.ArrayTree
    """The vector that follows the largest eigenvalue, of length 1, shaped as the parameters."""
    direction: chex.ArrayTree
    """In which that quotient was last seen to rise, of length 1 or 0."""
    residual: chex.Array
    """How steeply: norm of H v - quotient v when the vector v was last multiplied. Some eigenvalue was this close."""
    quotient: chex.Array
    """Rayleigh quotient of the vector. It is less than the sharpness, by a share of about 1e-4, where the vector has
    taken in a little of all directions, so that it sees curvature rise in any."""
    passed: chex.Array
    """Share of the gradient that came through to the optimizer's memory when last measured: below 1 where the gradient
    is clipped in front of a preconditioner."""


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
    gradients, every other one less; a quarter of the batch is enough to watch, and costs a quarter: at `every=10` 9 to
    21 % of a training step, where all of the batch costs 24 to 33 % (an MLP of 1e6 parameters, bench/margin.py).

    Parameters
    ----------
    family
        `step_size -> optax transformation`, linear in the gradients, or so with its preconditioner held fixed; see
        `curvature_threshold`. Weight decay is taken into account, also of some parameters only, and so are step sizes
        of single parameters and those that are never moved. Where its state carries the step size, as with
        `optax.inject_hyperparams`, the one in the state counts, unless a schedule is passed, which then sets it.
    step_size
        A number above 0, traced or not, or a schedule, `count -> number`; the family is called with its value. A number
        that is not traced goes into the state, and updates take it from there: a training step that has been compiled
        with one goes on with the state of `edge_margin(family, another, loss).init(params)` or of
        `state._replace(step_size=another)` without compiling again. So to change it later, change it in the state, or
        in the optimizer's own state where that carries it.
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
        If an argument is out of range; on init, if the optimizer has no threshold; on update, if the parameters are
        missing.

    Notes
    -----
    Lanczos with a memory of one vector, spread over the training: by turns a measurement multiplies the vector, which
    gives its Rayleigh quotient and the direction in which that rises, and takes the curvature in this direction, which
    gives the best vector of the plane of both. A measurement that is not finite is told as such and leaves the vector
    as it was. A batch of its own makes every measurement a noisy one. Under vmap products are made when they are due,
    and all lanes wait for the one that needs most. The Hessian product stands in the program once, whichever
    measurement it is for, since compiling it takes longer than all else here.

    A vector that has settled takes in a little of all directions before it is multiplied again, which leaves the
    sharpness too low by less than 1e-6 of itself where it stands clear of the next eigenvalue, and by 2e-5 in an even
    spectrum of thirty. So curvature is seen, too, that rises where the vector has no share at all, as in one of two
    models that share no parameter: on diagonals of 4 to 100,000 numbers tenfold after 3 to 13 measurements, by half
    after 7 to 81.

    Numbers of the optimizer that change in time or in its state, but for the step size, are taken as they are in the
    long run: a momentum that a schedule brings down, or a warm-up inside of the family, is told as if it had ended.

    With gradient descent on a full batch the margin climbs to 1 and hovers there (Cohen et al., arXiv 2103.00065); with
    Adam that of the preconditioned Hessian does (arXiv 2207.14484); notebooks/03_edge_of_stability.ipynb shows both.

    A small margin says that the place where the parameters are is stable, not that it is a good one: a network that has
    died sits on a plain of little curvature, with a margin near 0. Read it beside the loss.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> loss = lambda w: 0.5 * jnp.sum(jnp.array([1.0, 3.0, 10.0]) * w**2)
    >>> w = jnp.ones(3)
    >>> watched = gdx.edge_margin(optax.sgd, 0.1, loss)
    >>> updates, state = jax.jit(watched.update)(jax.grad(loss)(w), watched.init(w), w)
    >>> round(float(state.margin), 3)  # 0.1 * 10 / 2
    0.5
    """
    check_count("every", every, "pass 1 to measure at every update")
    _check_step_size(step_size)
    if not callable(loss):
        raise ValueError(f"loss: {loss!r} is not callable; pass a function loss(params) or loss(params, batch)")
    seen, named, family = {}, family, checked_family(family)

    def known(params):
        key = jax.tree.structure(params), tuple(leaf.shape for leaf in jax.tree.leaves(params))
        if key not in seen:
            seen[key] = _known_of(named, params)
        return seen[key]

    def init_fn(params):
        nothing, none = jnp.full((), jnp.nan, widest(params)), jnp.zeros((), jnp.int32)
        step = _held_step(step_size, known(params).carried, nothing.dtype)
        start = jax.tree.map(jnp.zeros_like, widened(params))
        inner = family(_step_at(step_size, none, params)).init(params)
        one = jnp.ones_like(nothing)
        return EdgeMarginState(inner, none, step, nothing, nothing, nothing, start, start, nothing, nothing, one)

    def update_fn(updates, state, params=None, *, batch: Any = None, **extra_args):
        if params is None:
            raise ValueError("params: missing; curvature is measured there, so pass update(gradient, state, params)")
        reader, limit_at, carried, kinds = known(params)
        step, before = _next_step(step_size, state, params), state.inner
        if callable(step_size):
            before = at_step(before, carried, step)
        else:
            step = _carried_step(before, carried, step)
        inner = optax.with_extra_args_support(family(step))
        new_updates, opt_state = inner.update(updates, before, params, **extra_args)
        opt_state = jax.tree.map(
            lambda new, old: jnp.asarray(new).astype(jnp.asarray(old).dtype), opt_state, state.inner
        )
        at_batch = loss if batch is None else (lambda params: loss(params, batch))
        is_due = state.num_updates % every == 0

        # A closure rather than operands: what a branch does not use is then not copied.
        def measure():
            vectors = few_leaves(state.vector), few_leaves(state.direction)
            old = Followed(state.quotient, *vectors, state.residual, state.sharpness)
            curvature = _curvature(at_batch, params, _roots(reader, opt_state, params), reader.response.decay)
            has_none = optax.tree.norm(old.direction, squared=True) == 0
            refreshes = ((state.num_updates // every) % 2 == 1) | jnp.isnan(old.told) | has_none
            new = follow(*curvature, old, refreshes, is_due)
            # What is not finite is told, and spoils nothing.
            kept = jax.tree.map(lambda n, o: jnp.where(jnp.isfinite(new.value), n, o), new, old)
            vector, direction = (
                from_few_leaves(few, like)
                for few, like in ((kept.vector, state.vector), (kept.direction, state.direction))
            )
            passed = jnp.ones_like(state.passed)
            if reader.response.is_preconditioned:
                passed = _passed(update_of(family(step)), updates, before, kinds).astype(passed.dtype)
            return new.told, vector, direction, kept.residual, kept.value, passed

        old = state.sharpness, state.vector, state.direction, state.residual, state.quotient, state.passed
        found = jax.lax.cond(is_due, measure, lambda: old)
        limit, threshold = limit_at(found[0] * found[-1])
        told = (jnp.asarray(number, state.margin.dtype) for number in (found[0], threshold, step * limit))
        held = state.step_size if step is state.step_size else jnp.asarray(step, state.step_size.dtype)
        return new_updates, EdgeMarginState(opt_state, state.num_updates + 1, held, *told, *found[1:])

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _curvature(loss, params, roots, decay):
    """Of P^-1/2 H P^-1/2 and the decay on its diagonal: products, and the curvature along a vector, of few leaves each.

    Neither is a number where the loss is none. The latter takes forward passes only, about two thirds of a product.
    """
    params = widened(params)
    check_scalar_loss(loss, params, None)

    def tangent(vector):
        return jax.tree.map(lambda v, leaf: v.astype(leaf.dtype), _over(vector, roots), params)

    # Checked and then used, and traced once.
    @jax.jit
    def product(few):
        here, few = jax.lax.optimization_barrier((params, few))
        vector = from_few_leaves(few, params)
        (value, _), (_, image) = jax.jvp(jax.value_and_grad(loss), (here,), (tangent(vector),))
        image = few_leaves(_plus(_over(image, roots), decay, vector))
        return [jnp.where(jnp.isfinite(value), leaf, jnp.nan).astype(few[0].dtype) for leaf in image]

    def along(few):
        here, few = jax.lax.optimization_barrier((params, few))
        vector = from_few_leaves(few, params)
        one = (tangent(vector),)
        (value, _), (_, found) = jax.jvp(lambda params: jax.jvp(loss, (params,), one), (here,), one)
        if decay is not None:
            found = found + optax.tree.vdot(vector, _plus(jax.tree.map(jnp.zeros_like, vector), decay, vector))
        return jnp.where(jnp.isfinite(value), found, jnp.nan).astype(few[0].dtype)

    return twice_differentiable(product, few_leaves(params)), along


def _passed(update, gradient, opt_state, kinds):
    """Share of a gradient that comes through to the memory, 1 where as much does as of a faint one.

    Adam does not see the size of gradients, but where they are clipped before it sees them its second moments are of
    clipped ones, and a change of the gradient moves the parameters by less than these say.
    """
    power = 1 if Parity.ODD in kinds else 2
    kind = Parity.ODD if power == 1 else Parity.EVEN
    empty = change(opt_state, dict.fromkeys((Parity.ODD, Parity.EVEN), jnp.zeros_like), kinds)
    nowhere = jax.tree.map(jnp.zeros_like, gradient)

    def remembered_of(scale):
        after = update(optax.tree.scale(scale, gradient), empty, nowhere)[1]
        leaves = zip(jax.tree.leaves(after), kinds, strict=True)
        return optax.tree.norm([leaf for leaf, one in leaves if one is kind])

    faint = FAINT / optax.tree.norm(gradient)
    share = (remembered_of(1.0) / remembered_of(faint)) ** (1 / power) * faint
    # Rounding is no clipping, and what is no number says nothing.
    return jnp.where(share < 1 - 1e-3, share, 1.0)


def _roots(reader, opt_state, params):
    """Square root of the preconditioner; None for an optimizer without one."""
    if not reader.response.is_preconditioned and reader.response.scale is None:
        return None
    return jax.tree.map(lambda leaf: jnp.sqrt(leaf.astype(widest(leaf))), reader.read(opt_state, params))


def _over(tree, roots):
    return tree if roots is None else jax.tree.map(jnp.divide, tree, roots)


def _plus(tree, decay, vector):
    """A vector, and what weight decay of single parameters adds to it."""
    if decay is None:
        return tree
    return jax.tree.map(lambda t, v, c: t + jnp.asarray(c, v.dtype) * v, tree, vector, decay)


def _limit(response: Response) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """One over the critical step size, and that step size times the sharpness, as functions of the sharpness."""
    if not np.any(response.params):
        constant = step_at(response, 1.0)
        return lambda sharpness: (sharpness / constant, jnp.full_like(sharpness, constant))
    grid = DECAY_GRID * np.max(np.abs(response.params))
    # A straight line for as long as one frequency is the first to grow.
    inverse = np.asarray([1 / step_at(response, float(curvature)) for curvature in grid])

    def limit(sharpness):
        beyond = jnp.maximum(sharpness / grid[-1], 1.0)
        found = beyond * jnp.interp(sharpness, grid, inverse)
        return found, sharpness / found

    return limit


class _Known(NamedTuple):
    """What is measured once of a family on parameters of some shapes."""

    reader: Reader
    limit_at: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    carried: tuple[float | None, ...]
    kinds: tuple[Parity, ...]


_KNOWN: dict[Any, _Known] = {}


def _known_of(family, params):
    def look():
        reader, checked = make_reader(family, params), checked_family(family)
        with concretely(), jax.enable_x64(True):
            small = stand_in_for(checked, params, 1)
            carried, kinds = carriers(checked, small), parities(checked(1.0), small)
        return _Known(reader, _limit(reader.response), carried, kinds)

    return remembered(_KNOWN, family, params, look)


def _carried_step(opt_state, carried, step_size):
    """The step size that the state holds, where it does: somebody may have changed it."""
    for leaf, one in zip(jax.tree.leaves(opt_state), carried, strict=True):
        if one is not None:
            return leaf / one
    return step_size


def _held_step(step_size, carried, dtype):
    """What the state holds as step size before the first update."""
    if callable(step_size):
        return jnp.full((), jnp.nan, dtype)
    if isinstance(step_size, Tracer) or any(one is not None for one in carried):
        return jnp.asarray(step_size, dtype)
    # As it was given: a Python number widens no update, neither then nor now.
    return jnp.asarray(float(step_size) if isinstance(step_size, int) else step_size)


def _next_step(step_size, state, params):
    """Step size of an update; a number is taken from the state, so that no program is made for this one alone."""
    if callable(step_size) or isinstance(step_size, Tracer):
        return _step_at(step_size, state.num_updates, params)
    held = jnp.asarray(state.step_size)
    if held.weak_type or not jnp.asarray(step_size).weak_type:
        return state.step_size
    # Out of a file it comes with a dtype, which would widen the updates.
    return held.astype(jnp.result_type(*jax.tree.leaves(params)))


def _step_at(step_size, count, params):
    if not callable(step_size):
        return step_size
    # A schedule's own dtype would widen the updates.
    return jnp.asarray(step_size(count), jnp.result_type(*jax.tree.leaves(params)))


def _check_step_size(step_size):
    if callable(step_size) or isinstance(step_size, Tracer):
        return
    if not (np.ndim(step_size) == 0 and np.isfinite(step_size) and step_size > 0):
        raise ValueError(f"step_size: {step_size} is outside (0, inf); pass a number above 0, or a schedule")
