"""Facts about the loss that is trained on, which every step counts for, watched or coasted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems.base import Problem
from gdx.rewriting import suited_to_cpu
from gdx.stepping import TrainState, gradient_norm, resolve_problem
from gdx.stepping.ordering import batch_of
from gdx.sweeps.runs import Runs, Stop
from gdx.sweeps.sizing import Blocks
from gdx.sweeps.state import Settings
from gdx.trees import wide

LATE_SHARE = 10
"""The last 1/10 of the horizon is what a run is judged by as training."""
FIRST_BATCHES = 8
"""Over which the loss at the start is averaged."""
AT_START, AT_ZERO, ALONG = np.arange(3, dtype=np.int32)
"""Where a look is taken in search of the null loss."""
DROP = 0.01
"""Share of the loss by which the first step of a search is to lower it, to first order."""


def horizon_of(blocks: Blocks) -> int:
    """Give the horizon that was cut into these blocks, steps.

    Parameters
    ----------
    blocks
        As `choose_blocks` gives them.

    Returns
    -------
    int
    """
    return blocks.number * (blocks.coast + blocks.watch) - blocks.padding


class First(NamedTuple):
    """What training begins with."""

    loss: jax.Array
    """What verdicts are about."""
    gradient_norm: jax.Array
    training_loss: jax.Array
    null_loss: jax.Array
    minimum: jax.Array
    """Where it is known, else NaN."""


def make_start(
    problem: Problem | Callable[[Any], Problem], evaluate: Callable[..., Any], settings: Settings
) -> Callable[[TrainState], First]:
    """Make the function that says what training begins with.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`.
    evaluate
        `state -> (loss, gradient norm)` of what verdicts are about.
    settings
        Static choices.

    Returns
    -------
    callable
        `start(state) -> First`.
    """
    count = min(FIRST_BATCHES, horizon_of(settings.blocks))

    def start(state: TrainState) -> First:
        here = resolve_problem(problem, state.hyperparams)
        chance, minimum = (None, None) if here.known is None else (here.known.chance, here.known.minimum)
        zeros = jax.tree.map(jnp.zeros_like, state.params)

        def loss_at(params):
            def on_batch(ahead):
                batch = batch_of(here, state._replace(step=state.step + ahead))
                return here.loss(params, state.model_state, batch)[0]

            if here.batches is None:
                return on_batch(0)
            return jnp.mean(jax.lax.map(lambda ahead: wide(on_batch(ahead)), jnp.arange(count, dtype=jnp.int32)))

        judges_it = here.batches is None and not settings.is_apart
        if judges_it and chance is None:
            # The loss at the start and the search for the null loss share one loop: it takes long to compile.
            loss, norm, null = _constant_loss(loss_at, zeros, state.params, settings.frozen)
        else:
            loss, norm = evaluate(state)
            null = constant_loss(loss_at, zeros) if chance is None else jnp.asarray(chance)
        first = wide(loss if judges_it else loss_at(state.params))
        lowest = jnp.asarray(jnp.nan if minimum is None else minimum)
        return First(loss, norm, first, null.astype(first.dtype), lowest.astype(loss.dtype))

    return suited_to_cpu(start)


def constant_loss(loss: Callable[[Any], jax.Array], zeros: Any) -> jax.Array:
    """Give the loss of about the best constant prediction, which a network can make whatever else it has lost.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`.
    zeros
        Parameters of zero.

    Returns
    -------
    scalar
        With all parameters zero nearly every network puts out a constant, and nothing but its last offsets has a
        gradient: where fewer than half of the parameters have one, the lowest loss of a search along it, exact for
        squared errors. Otherwise, as for a linear model, whose weights learn from there, the loss at zero.
    """
    return _constant_loss(loss, zeros)[2]


def _constant_loss(loss: Any, zeros: Any, start: Any = None, frozen: Any = None) -> tuple[Any, Any, Any]:
    """Loss and gradient norm at a start, where there is one, and `constant_loss`: looks at one place after another."""

    def look(carry, which):
        direction, before, slope_before, at = carry
        params = jax.tree.map(lambda leaf, along: leaf - at.astype(leaf.dtype) * along, zeros, direction)
        if start is not None:
            params = jax.tree.map(lambda first, there: jnp.where(which == AT_START, first, there), start, params)
        value, gradient = jax.value_and_grad(loss)(params)
        norm = None if start is None else gradient_norm(gradient, frozen)
        value, loss_there = wide(value), value
        direction = jax.tree.map(lambda new, old: jnp.where(which == AT_ZERO, new, old), gradient, direction)
        slope = optax.tree.vdot(wide(direction), wide(gradient))
        slope = jnp.asarray(slope, value.dtype)
        secant = at - _ratio(slope * (at - before), slope - slope_before)
        ahead = jnp.where(which == AT_ZERO, _ratio(DROP * abs(value), slope), secant)
        num_moved = optax.tree.sum(jax.tree.map(lambda leaf: jnp.sum(leaf != 0), gradient))
        after = (direction, at, slope, ahead)
        if start is not None:
            # Nothing of the start goes into the search.
            after = jax.tree.map(lambda new, old: jnp.where(which == AT_START, old, new), after, carry)
        return after, (loss_there, norm, value, jnp.asarray(num_moved))

    nothing = jnp.zeros_like(jax.eval_shape(lambda params: wide(loss(params)), zeros))
    looks = np.array([AT_ZERO, ALONG, ALONG] if start is None else [AT_START, AT_ZERO, ALONG, ALONG])
    _, (losses, norms, values, num_moved) = jax.lax.scan(look, (zeros, nothing, nothing, nothing), looks)
    values, num_moved = values[-3:], num_moved[-3:]
    is_constant = 2 * num_moved[0] < sum(leaf.size for leaf in jax.tree.leaves(zeros))
    null = jnp.where(is_constant, jnp.fmin(values[0], jnp.fmin(values[1], values[2])), values[0])
    return losses[0], None if norms is None else norms[0], null


def num_late(blocks: Blocks) -> int:
    """Give the length of the last tenth of the horizon, steps, at least 1.

    Parameters
    ----------
    blocks
        Of the sweep.

    Returns
    -------
    int
    """
    return max(horizon_of(blocks) // LATE_SHARE, 1)


def follow_training(
    settings: Settings,
    facts: Runs,
    late_total: jax.Array,
    end: jax.Array,
    coasted: jax.Array,
    peak: jax.Array,
    trained: jax.Array,
) -> tuple[Runs, jax.Array]:
    """Bring the facts about the training loss up to date after a block.

    Parameters
    ----------
    settings
        Static choices.
    facts
        Of one lane; `stopped` is that after the block.
    late_total
        Sum over the blocks so far that touch the last tenth of the horizon.
    end
        Steps made, int32.
    coasted
        Sum of the training losses of the coasted steps.
    peak
        Largest training loss of the watched steps, or of as many as are in the last tenth of the horizon.
    trained
        Training losses of the watched steps, [W].

    Returns
    -------
    facts, late_total
    """
    blocks = settings.blocks
    length, horizon = blocks.coast + blocks.watch, horizon_of(blocks)
    trained, late_steps = wide(trained), num_late(blocks)
    mean = jnp.mean(trained)
    total = coasted + blocks.watch * mean
    holds_middle = (end - length < horizon // 2) & (horizon // 2 <= end) & (blocks.number > 1)
    is_late = end > horizon - late_steps
    late_total = late_total + jnp.where(is_late, total, 0)
    if late_steps <= blocks.watch:
        late, late_peak = jnp.mean(trained[-late_steps:]), peak
    else:
        # Whole blocks, since a sum that begins inside of one would cost every step.
        ends = np.arange(1, blocks.number + 1) * length - blocks.padding
        late = late_total / (length * np.count_nonzero(ends > horizon - late_steps))
        late_peak = jnp.maximum(facts.late_loss_max, jnp.where(is_late, peak, -jnp.inf))
    # A run that ended before its horizon has no last tenth, but a tail.
    ends_early = (facts.stopped != Stop.UNFINISHED) & (end < horizon)
    late, late_peak = jnp.where(ends_early, mean, late), jnp.where(ends_early, peak, late_peak)
    ended_bad = (facts.stopped == Stop.NONFINITE) | (facts.stopped == Stop.BLOWN_UP)
    facts = facts._replace(
        middle_loss=jnp.where(holds_middle, total / length, facts.middle_loss),
        late_loss=jnp.where(ended_bad, jnp.nan, late),
        late_loss_max=jnp.where(ended_bad, jnp.nan, late_peak),
        worst_loss=jnp.fmax(facts.worst_loss, total / length),
    )
    return facts, late_total


def mean_of_block(blocks: Blocks, coasted: jax.Array, trained: jax.Array) -> jax.Array:
    """Give the mean training loss over one block.

    Parameters
    ----------
    blocks
        Of the sweep.
    coasted, trained
        As in `follow_training`.

    Returns
    -------
    number
    """
    return (coasted + blocks.watch * jnp.mean(wide(trained))) / (blocks.coast + blocks.watch)


def _ratio(above, below):
    """Of two numbers, 0 where there is none."""
    return jnp.where(below == 0, 0, above / jnp.where(below == 0, 1, below))
