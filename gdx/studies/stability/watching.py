"""Curvature's view of one run, over all of it, by two roads."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import first_line
from gdx.curvature import sharpness
from gdx.margin import edge_margin
from gdx.problems.base import Problem
from gdx.responses import measure_response
from gdx.responses.preconditioners import make_reader
from gdx.responses.scalings import own_scale
from gdx.stepping import Family, transformation_of
from gdx.stepping.keys import batch_key
from gdx.studies.stability.found import Margin
from gdx.studies.stability.unscheduled import unscheduled

if TYPE_CHECKING:
    import chex

LATE = 3
"""The last one of so many parts of a run is late."""
LOOKS = 20
"""Measurements over a run, about; curvature is only followed where it is looked at often."""
MOST_BATCHES = 8
"""Whose mean loss is looked at: of one batch at a time nothing could be followed."""
WHOLE = 0.999
"""Share of a schedule's largest step size at which a warm-up is over."""
SETTLED = 10
"""Gradients that second moments must have seen: after a single one those of rare features are next to 0."""
AGREE = 0.2
"""Relative difference from which two measurements of one curvature disagree."""
RTOL, NUM_ITERS = 0.02, 60
"""Of the second."""


def margin_of(
    problem: Problem,
    family: Family,
    step_size: float,
    key: chex.PRNGKey,
    num_steps: int,
    groups: dict[str, list[int]],
) -> Margin:
    """Watch the margin of a run, of the mean loss of a few of the batches that it is trained on.

    Parameters
    ----------
    problem, family
        As in a sweep.
    step_size
        The present one.
    key
        Of the start.
    num_steps
        The horizon.
    groups
        Leaves of every group of parameters, by name.

    Returns
    -------
    Margin
        Without numbers, and with a note why, where the optimizer has no threshold, or its schedule is no factor of its
        updates. `first` and `late` are numbers only where Lanczos, begun anew at the run's first and last look, finds
        the curvature that was followed.
    """
    every = max(num_steps // (2 * LOOKS), 1)
    steps = np.arange(0, num_steps, every)
    try:
        start = jax.eval_shape(problem.init, key)[0]
        still, factors = unscheduled(family, start, steps)
        loss_of = _mean_loss(problem, key, num_steps)
        begun = int(np.argmax(factors >= WHOLE * np.max(factors)))
        if measure_response(still, start).is_preconditioned:
            begun = min(max(begun, -(-SETTLED // every)), len(steps) - 1)
        run = _watched(problem, family, still, step_size, loss_of, every, (int(steps[begun]), int(steps[-1])))
        first_look, last_look, vector, seen = run(key)
        losses, margins, followed = (np.asarray(one, float)[steps] for one in seen)
        margins = margins * factors
        again = _by_lanczos(still, loss_of)
        sure = _agree(followed[begun], again(first_look)), _agree(followed[-1], again(last_look))
    except (ValueError, TypeError, NotImplementedError) as error:
        nothing = np.zeros(0)
        return Margin(step_size, nothing.astype(int), nothing, nothing, nothing, {}, first_line(error))
    weights = [float(np.sum(np.asarray(leaf, float) ** 2)) for leaf in jax.tree.leaves(vector)]
    total = sum(weights)
    shares = {name: sum(weights[i] for i in leaves) / total for name, leaves in groups.items()} if total > 0 else {}
    note = "" if np.any(np.isfinite(margins)) else "no curvature on the way was a number"
    if not note and not all(sure):
        where = "at the start" if sure[1] else "at the end" if sure[0] else "at the start and at the end"
        note = f"following the curvature and measuring it anew disagree {where}"
    late = float(np.median(margins[-max(margins.size // LATE, 1) :])) if sure[1] else math.nan
    first = float(margins[begun]) if sure[0] else math.nan
    shares = shares if sure[1] else {}
    return Margin(step_size, steps, margins, followed, losses, shares, note, first, late, int(steps[begun]))


def _mean_loss(problem: Problem, key: chex.PRNGKey, num_steps: int) -> Callable[..., jax.Array]:
    """The loss whose curvature is looked at, of parameters and a model's state."""
    if problem.batches is None:
        return lambda params, state: problem.loss(params, state, None)[0]
    counts = jnp.arange(min(MOST_BATCHES, num_steps), dtype=jnp.int32)
    draws, batches = batch_key(key), problem.batches

    def loss_of(params, state):
        # One after another, so that the memory is that of one.
        each = jax.checkpoint(lambda count: problem.loss(params, state, batches(draws, count))[0])
        return jnp.mean(jax.lax.map(each, counts))

    return loss_of


def _watched(problem, family, still, step_size, loss_of, every, looks):
    """A training run beside which the curvature is followed: `key -> (first look, last look, vector, all steps)`.

    A look is what was looked at: parameters, the model's state, and the memory of the optimizer that stands still.
    """
    transformation = optax.with_extra_args_support(transformation_of(family, step_size))
    watched = edge_margin(still, step_size, loss_of, every)

    @jax.jit
    def run(key):
        params, model_state = problem.init(key)
        draws = batch_key(key)

        def step(carry, count):
            (params, model_state, opt_state, state), kept = carry
            gradient, new_state, told = _gradient(problem, params, model_state, draws, count)
            updates, opt_state = transformation.update(gradient, opt_state, params, **told)
            # Its own updates go unused: it is at the same parameters, and its memory is of the same gradients.
            state: Any = watched.update(gradient, state, params, batch=model_state, **told)[1]
            here = params, model_state, state.inner
            pairs = zip(looks, kept, strict=True)
            kept = [jax.tree.map(functools.partial(jnp.where, count == at), here, one) for at, one in pairs]
            moved: Any = (optax.apply_updates(params, updates), new_state, opt_state, state), kept
            moved = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), moved, carry)
            return moved, (told["value"], moved[0][-1].margin, moved[0][-1].sharpness)

        state: Any = watched.init(params)
        kept = [(params, model_state, state.inner)] * len(looks)
        carry: Any = (params, model_state, transformation.init(params), state), kept
        (end, kept), seen = jax.lax.scan(step, carry, jnp.arange(looks[-1] + 1, dtype=jnp.int32))
        return *kept, end[-1].vector, seen

    return run


def _gradient(problem, params, model_state, draws, count):
    """Of the loss that is trained on, with the model's next state, and what some optimizers are told beside it."""
    batch = None if problem.batches is None else problem.batches(draws, count)

    def own(params):
        return problem.loss(params, model_state, batch)

    (loss, new_state), gradient = jax.value_and_grad(own, has_aux=True)(params)
    return gradient, new_state, {"value": loss, "grad": gradient, "value_fn": lambda params: own(params)[0]}


def _by_lanczos(still, loss_of):
    """The second road: the curvature at one look, from a random vector on."""

    @jax.jit
    def again(params, model_state, opt_state):
        reader = make_reader(still, params)
        response, divisor = reader.response, None
        if response.is_preconditioned or response.scale is not None:
            divisor = reader.read(opt_state, params)
        scaled, here = own_scale(lambda params: loss_of(params, model_state), params, divisor, response.decay)
        num_iters = min(NUM_ITERS, sum(np.size(leaf) for leaf in jax.tree.leaves(params)))
        return sharpness(scaled, here, rtol=RTOL, num_iters=num_iters).value

    return lambda look: float(again(*look))


def _agree(one, two):
    return bool(abs(one - two) <= AGREE * max(abs(one), abs(two)))
