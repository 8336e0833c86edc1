"""The compiled part of a sweep: slots that lanes enter, move through together, and leave when they have ended.

Under vmap a while loop runs until its slowest lane ends, so no lane's early end saves anything. Here B slots
are scanned through one block of steps; lanes that have ended write their facts to a log and leave; waiting lanes
take their slots. The verbs are admit, renew, advance and retire; the engine's `segment` strings them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.stepping import TrainStep
from gdx.stepping.keys import for_each
from gdx.stepping.tangents import begun_frame
from gdx.sweeps.advancing import make_advance
from gdx.sweeps.runs import Runs, Stop
from gdx.sweeps.state import SEARCH_FAILURES, TANGENTS, Log, Peaks, Queue, Settings, Slots, loss_bound
from gdx.sweeps.watching import num_tangents
from gdx.trees import rows

FEW_SLOTS = 64
"""Up to so many lanes enter one by one on a CPU: they are heavy, or few."""


class Engine(NamedTuple):
    """Three functions, of which the first two make what the third, which is pure and compiled, begins with."""

    fill: Callable[[Queue], Slots]
    """All slots free, shaped for this queue."""
    blank_log: Callable[[Slots, int], Log]
    segment: Callable[..., tuple[Slots, Log, jax.Array]]
    """`segment(slots, log, next_row, queue, num_blocks) -> (slots, log, next_row)`."""


def make_engine(step: TrainStep, evaluate: Callable[..., Any], start: Callable[..., Any], settings: Settings) -> Engine:
    """Build the engine of one sweep.

    Parameters
    ----------
    step
        The training step of one run.
    evaluate
        `state -> (loss, gradient norm)` of what verdicts are about.
    start
        `state -> First`, what training begins with.
    settings
        Static choices.

    Returns
    -------
    Engine
    """
    fresh = _fresh(step, start, settings)
    let_in = _one_by_one(fresh) if settings.slots <= FEW_SLOTS and jax.default_backend() == "cpu" else _together(fresh)

    def fill(queue):
        # By shape alone: to compile what lanes begin with takes as long as to compile the steps.
        indices = jax.ShapeDtypeStruct((settings.slots,), jnp.int32)
        slots = jax.eval_shape(lambda queue, indices: jax.vmap(fresh)(_rows(queue, indices)), queue, indices)
        return jax.tree.map(_blank, slots)._replace(lane=np.full(settings.slots, -1, np.int32))

    def blank_log(slots, capacity):
        facts = jax.eval_shape(lambda: jax.vmap(_summarised(settings))(slots))
        lane, facts = jax.tree.map(lambda leaf: np.zeros((capacity, *leaf.shape[1:]), leaf.dtype), (slots.lane, facts))
        return Log(lane, facts, np.zeros((), np.int32))

    advance = make_advance(step, evaluate if settings.is_apart else None, settings)
    retire = _retire(settings)

    def segment(slots, log, next_row, queue, num_blocks):
        capacity = log.lane.shape[0]

        def unfinished(carry):
            slots, log, next_row, done = carry
            occupied = slots.lane >= 0
            waiting = next_row < queue.length
            starved = ~waiting & ~queue.is_last & ~jnp.all(occupied)
            has_room = log.filled + settings.slots <= capacity
            return (done < num_blocks) & (jnp.any(occupied) | waiting) & ~starved & has_room

        def block(carry):
            slots, log, next_row, done = carry
            slots, next_row = _admit(let_in, slots, queue, next_row)
            slots = advance(_renew(step, slots))
            slots, log = retire(slots, log)
            return slots, log, next_row, done + 1

        start = (slots, log, next_row, jnp.zeros((), jnp.int32))
        slots, log, next_row, _ = jax.lax.while_loop(unfinished, block, start)
        return slots, log, next_row

    return Engine(fill, blank_log, segment)


def _fresh(step, start, settings):
    """A lane before its first step."""

    def fresh(row):
        lane, hyperparams, key = row
        train = step.init(hyperparams, key)
        loss, norm, training_loss, null_loss, minimum = start(train)
        nan = jnp.full_like(loss, jnp.nan)
        nan_norm = jnp.full_like(norm, jnp.nan)
        none = jnp.zeros((), jnp.int32)
        facts = Runs(
            stopped=jnp.full((), Stop.UNFINISHED, jnp.int8),
            steps=none,
            # Of every run it is known beforehand, and no part of what the engine finds out.
            hyperparams=(),
            first_loss=loss,
            best_loss=loss,
            last_loss=loss,
            first_gradient_norm=norm,
            tail_steps=none,
            tail_loss=nan,
            tail_gradient_norm_min=nan_norm,
            tail_gradient_norm_mean=nan_norm,
            tail_gradient_norm_max=nan_norm,
            gradient_rate=nan_norm,
            loss_rises=none,
            third_quarter_rise=jnp.zeros_like(loss),
            last_quarter_rise=jnp.zeros_like(loss),
            calm_gradient_norm=nan_norm,
            climbs=none,
            trend=none,
            first_bad_step=none - 1,
            period=none,
            near_period=none,
            still=none,
            repeats_after=none,
            tolerance=jnp.full_like(norm, settings.tolerance),
            loss_bound=loss_bound(loss, settings.blow_up_factor),
            search_failures=none,
            tail_search_failures=none,
            first_training_loss=training_loss,
            null_loss=null_loss,
            minimum=minimum,
            middle_loss=jnp.full_like(training_loss, jnp.nan),
            late_loss=jnp.full_like(training_loss, jnp.nan),
            late_loss_max=jnp.full_like(training_loss, -jnp.inf),
            worst_loss=training_loss,
            observed={},
        )
        watched = {name: observer.init(train.params) for name, observer in settings.observers.items()}
        if number := num_tangents(settings.observers):
            watched[TANGENTS] = begun_frame(train, number)
        train = train._replace(step=train.step - settings.blocks.padding)
        return Slots(
            lane, train, facts, Peaks(nan_norm, nan_norm, none, nan_norm, loss), jnp.zeros_like(training_loss), watched
        )

    return fresh


def _admit(let_in, slots, queue, next_row):
    """Give free slots to waiting lanes, in order; skipped where there is nothing to give."""
    free = slots.lane < 0
    row = next_row + jnp.cumsum(free) - 1
    takes = free & (row < queue.length)

    def admitted(slots):
        # A free slot that gets no lane replays the last one, so that it always holds sensible numbers.
        new = _rows(queue, jnp.clip(row, 0, queue.length - 1))
        slots = let_in(free, new, slots)
        return slots._replace(lane=jnp.where(free & ~takes, -1, slots.lane))

    slots = jax.lax.cond(jnp.any(takes), admitted, lambda slots: slots, slots)
    return slots, next_row + jnp.sum(takes, dtype=jnp.int32)


def _together(fresh):
    """Begin all lanes at once, those in between, whose slots are taken, for nothing."""

    def let_in(free, rows, slots):
        lane, hyperparams, key = rows
        new = for_each(lambda key, lane, hyperparams: fresh((lane, hyperparams, key)), key, lane, hyperparams)
        return jax.tree.map(lambda n, o: jnp.where(_column(free, n), n, o), new, slots)

    return let_in


def _one_by_one(fresh):
    """Begin one lane after another, and only where a slot is free.

    To draw random numbers side by side takes XLA longest of all to compile, four times as long as one after another.
    """

    def one(args):
        is_free, row, slot = args
        return jax.lax.cond(is_free, lambda: fresh(row), lambda: slot)

    return lambda free, rows, slots: jax.lax.map(one, (free, rows, slots))


def _renew(step, slots):
    """Draw the orders of coming epochs where a lane needs them: here, since inside the steps every one would pay."""
    if slots.train.orders is None:
        return slots
    is_due = (slots.lane >= 0) & jax.vmap(step.is_due)(slots.train)
    train = jax.lax.cond(jnp.any(is_due), jax.vmap(step.renew), lambda train: train, slots.train)
    return slots._replace(train=train)


def _summarised(settings):
    def summarised(slot):
        summaries = {name: obs.summarise(slot.watched[name]) for name, obs in settings.observers.items()}
        failures = summaries.pop(SEARCH_FAILURES, slot.facts.search_failures)
        return slot.facts._replace(observed=summaries, search_failures=failures)

    return summarised


def _retire(settings):
    """Write the facts of ended lanes to the log and free their slots."""
    summarise = jax.vmap(_summarised(settings))

    def retire(slots, log):
        ended = (slots.lane >= 0) & (slots.facts.stopped != Stop.UNFINISHED)

        def let_out(log):
            capacity = log.lane.shape[0]
            row = jnp.where(ended, log.filled + jnp.cumsum(ended) - 1, capacity)
            lane, facts = jax.tree.map(
                lambda kept, new: kept.at[row].set(new, mode="drop"),
                (log.lane, log.facts),
                (slots.lane, summarise(slots)),
            )
            return Log(lane, facts, log.filled + jnp.sum(ended, dtype=jnp.int32))

        log = jax.lax.cond(jnp.any(ended), let_out, lambda log: log, log)
        return slots._replace(lane=jnp.where(ended, -1, slots.lane)), log

    return retire


def _column(mask, like):
    return mask.reshape(mask.shape + (1,) * (like.ndim - 1))


def _rows(queue, index):
    return rows((queue.lane, queue.hyperparams, queue.key), index)


def _blank(leaf):
    """Zeros, on the host since JAX compiles a program for every shape of them; where keys belong the key of zeros."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        like = jax.eval_shape(jax.random.key_data, leaf)
        return jax.random.wrap_key_data(jnp.zeros(like.shape, like.dtype), impl=leaf.dtype)
    return np.zeros(leaf.shape, leaf.dtype)
