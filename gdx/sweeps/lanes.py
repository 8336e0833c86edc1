"""The compiled part of a sweep: slots that lanes enter, move through together, and leave when they have ended.

Under vmap a while loop runs until its slowest lane ends, so no lane's early end saves anything. Here B slots
are scanned through one block of steps; lanes that have ended write their facts to a log and leave; waiting lanes
take their slots. The three verbs are `admit`, `advance`, `retire`; `make_segment` strings them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from gdx.observers import Observer, TailStatistics, Window, cycle_period, exact_repetition, tail_statistics
from gdx.stepping import TrainState, TrainStep, gradient_norm
from gdx.sweeps.runs import Runs, Stop, Stopping
from gdx.sweeps.sizing import Blocks

if TYPE_CHECKING:
    import chex


class Settings(NamedTuple):
    """Static choices of a sweep."""

    blocks: Blocks
    slots: int
    tolerance: float
    blow_up_factor: float
    stopping: Stopping
    gradients: bool
    cycles: bool
    evaluate_every: int
    observers: Mapping[str, Observer]


class Slots(NamedTuple):
    """B lanes under way, leaves [B, ...]."""

    lane: chex.Array
    """Number of the lane in the queue's count, -1 for a free slot."""
    train: TrainState
    facts: Runs
    lowest_peak: chex.Array
    """Smallest of the windows' largest gradient norms so far."""
    highest_peak: chex.Array
    watched: dict[str, Any]
    """Observers' states."""


class Queue(NamedTuple):
    """Waiting lanes, leaves [Q, ...]; rows from `length` on are padding."""

    lane: chex.Array
    hyperparams: Any
    key: chex.PRNGKey
    length: chex.Array
    is_last: chex.Array
    """Whether nothing waits behind this queue."""


class Log(NamedTuple):
    """Facts of lanes that have left, in the order of leaving, leaves [C, ...]."""

    lane: chex.Array
    facts: Runs
    count: chex.Array


class Engine(NamedTuple):
    """Three pure functions; the first two are traced by whoever compiles the third."""

    fill: Callable[[Queue], Slots]
    """All slots free, shaped for this queue."""
    blank_log: Callable[[Slots, int], Log]
    segment: Callable[..., tuple[Slots, Log, chex.Array]]
    """`segment(slots, log, next_row, queue, num_blocks) -> (slots, log, next_row)`."""


def make_engine(
    step: TrainStep, evaluate: Callable[..., Any], evaluates_apart: bool, settings: Settings
) -> Engine:
    """Build the engine of one sweep.

    Parameters
    ----------
    step
        The training step of one run.
    evaluate
        `state -> (loss, gradient norm)` of what verdicts are about.
    evaluates_apart
        Whether that differs from the training loss, so that it must be computed beside the step.
    settings
        Static choices.

    Returns
    -------
    Engine
    """
    fresh = _fresh(step, evaluate, settings)

    def fill(queue):
        shapes = jax.eval_shape(lambda: jax.vmap(fresh)(_rows(queue, jnp.zeros(settings.slots, jnp.int32))))
        blank = jax.tree.map(_zeros, shapes)
        return blank._replace(lane=jnp.full(settings.slots, -1, jnp.int32))

    def blank_log(slots, capacity):
        facts = jax.eval_shape(lambda: jax.vmap(_summarised(settings))(slots))
        lane, facts = jax.tree.map(
            lambda leaf: jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype), (slots.lane, facts)
        )
        return Log(lane, facts, jnp.zeros((), jnp.int32))

    advance = _advance(step, evaluate if evaluates_apart else None, settings)
    retire = _retire(settings)

    def segment(slots, log, next_row, queue, num_blocks):
        capacity = log.lane.shape[0]

        def unfinished(carry):
            slots, log, next_row, done = carry
            occupied = slots.lane >= 0
            waiting = next_row < queue.length
            starved = ~waiting & ~queue.is_last & ~jnp.all(occupied)
            has_room = log.count + settings.slots <= capacity
            return (done < num_blocks) & (jnp.any(occupied) | waiting) & ~starved & has_room

        def block(carry):
            slots, log, next_row, done = carry
            slots, next_row = _admit(fresh, slots, queue, next_row)
            slots = advance(slots)
            slots, log = retire(slots, log)
            return slots, log, next_row, done + 1

        start = (slots, log, next_row, jnp.zeros((), jnp.int32))
        slots, log, next_row, _ = jax.lax.while_loop(unfinished, block, start)
        return slots, log, next_row

    return Engine(fill, blank_log, segment)


def _fresh(step, evaluate, settings):
    """A lane before its first step."""

    def fresh(row):
        lane, hyperparams, key = row
        train = step.init(hyperparams, key)
        loss, norm = evaluate(train)
        nan = jnp.full_like(loss, jnp.nan)
        nan_norm = jnp.full_like(norm, jnp.nan)
        none = jnp.zeros((), jnp.int32)
        facts = Runs(
            stopped=jnp.full((), Stop.UNFINISHED, jnp.int8),
            steps=none,
            first_loss=loss,
            best_loss=loss,
            last_loss=loss,
            first_gradient_norm=norm,
            tail_loss=nan,
            tail_gradient_norm_min=nan_norm,
            tail_gradient_norm_mean=nan_norm,
            tail_gradient_norm_max=nan_norm,
            gradient_rate=nan_norm,
            loss_rises=none,
            trend=none,
            first_bad_step=none - 1,
            period=none,
            repeats_after=none,
            tolerance=jnp.full_like(norm, settings.tolerance),
            # Adding 1 copes with losses that start at 0; it can only delay the bound, never bring it forward.
            loss_bound=settings.blow_up_factor * jnp.maximum(jnp.abs(loss), 1),
            observed={},
        )
        watched = {name: observer.init(train.params) for name, observer in settings.observers.items()}
        train = train._replace(step=train.step - settings.blocks.held)
        return Slots(lane, train, facts, nan_norm, nan_norm, watched)

    return fresh


def _admit(fresh, slots, queue, next_row):
    """Give free slots to waiting lanes, in order; skipped where there is nothing to give."""
    free = slots.lane < 0
    row = next_row + jnp.cumsum(free) - 1
    takes = free & (row < queue.length)

    def let_in(slots):
        # A free slot that gets no lane replays the last one, so that it always holds sensible numbers.
        new = jax.vmap(fresh)(_rows(queue, jnp.clip(row, 0, queue.length - 1)))
        new = new._replace(lane=jnp.where(takes, new.lane, -1))
        return jax.tree.map(lambda n, o: jnp.where(_column(free, n), n, o), new, slots)

    slots = jax.lax.cond(jnp.any(takes), let_in, lambda slots: slots, slots)
    return slots, next_row + jnp.sum(takes, dtype=jnp.int32)


def _advance(step, evaluate, settings):
    """Move all slots through one block and bring their facts up to date."""
    blocks, stopping = settings.blocks, settings.stopping
    keeps_first_bad_loss = stopping.nonfinite and stopping.blow_up

    def move(train, watched):
        new, view = step.update(train)
        seen = {name: obs.update(watched[name], view) for name, obs in settings.observers.items()}
        if blocks.held:
            new, seen = _where(train.step >= 0, (new, seen), (train._replace(step=new.step), watched))
        return new, seen, view

    def coast(slots):
        """Steps of which only the best loss and the first bad step are kept."""

        def body(carry, row):
            train, watched, best, last, good = carry
            train, watched, view = jax.vmap(move)(train, watched)
            alive = good == row
            if evaluate is None:
                best = jnp.where(alive & (view.loss < best), view.loss, best)
            last = jnp.where(alive, view.loss, last) if keeps_first_bad_loss else view.loss
            good = good + (alive & ~_is_bad(view.loss, slots.facts))
            return (train, watched, best, last, good), None

        facts = slots.facts
        last = facts.last_loss if evaluate is None else jnp.zeros_like(facts.last_loss)
        start = (slots.train, slots.watched, facts.best_loss, last, jnp.zeros(settings.slots, jnp.int32))
        rows = jnp.arange(blocks.coast, dtype=jnp.int32)
        (train, watched, best, last, good), _ = jax.lax.scan(body, start, rows)
        moved = slots._replace(train=train, watched=watched, facts=facts._replace(best_loss=best, last_loss=last))
        return moved, good

    def watch(slots):
        """W steps of which everything is recorded, arrays [W, B]."""
        reference = slots.train
        knows_repetition = settings.cycles and _can_repeat(reference)

        def body(carry, row):
            train, watched, evaluated = carry
            if evaluate is not None:
                due = row % settings.evaluate_every == 0
                evaluated = jax.lax.cond(due, lambda: jax.vmap(evaluate)(train), lambda: evaluated)
            before = train
            train, watched, view = jax.vmap(move)(train, watched)
            if evaluate is not None:
                loss, norm = evaluated
            else:
                loss = view.loss
                norm = jax.vmap(gradient_norm)(view.gradient) if settings.gradients else None
            moved = memory = None
            if settings.cycles:
                moved = jax.vmap(_distance)(before.params, reference.params)
            if knows_repetition:
                memory = jax.vmap(_memory_distance)(before, reference)
            return (train, watched, evaluated), (view.loss, loss, norm, moved, memory)

        evaluated = None
        if evaluate is not None:
            shapes = jax.eval_shape(jax.vmap(evaluate), slots.train)
            evaluated = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        rows = jnp.arange(blocks.watch)
        carry, record = jax.lax.scan(body, (slots.train, slots.watched, evaluated), rows)
        train, watched, _ = carry
        trained, loss, norm, moved, memory = record
        if norm is None:
            norm = jnp.full_like(loss, jnp.nan)
        return slots._replace(train=train, watched=watched), (trained, Window(loss, norm, moved, memory))

    judge = _judge(settings)

    def advance(slots):
        good = jnp.zeros(settings.slots, jnp.int32)
        if blocks.coast:
            slots, good = coast(slots)
        slots, (trained, window) = watch(slots)
        return jax.vmap(judge, in_axes=(0, 0, 1, 1))(slots, good, trained, window)

    return advance


def _judge(settings):
    """Bring one lane's facts up to date after a block, and say whether it has ended."""
    blocks, stopping = settings.blocks, settings.stopping
    length = blocks.coast + blocks.watch
    horizon = blocks.number * length - blocks.held

    def judge(slot, good, trained, window):
        facts, end = slot.facts, slot.train.step
        bad = _is_bad(trained, facts) | _is_bad(window.loss, facts)
        nonfinite = ~jnp.isfinite(trained)
        if settings.gradients:
            nonfinite |= ~jnp.isfinite(window.gradient_norm)
        if window.moved is not None:
            nonfinite |= ~jnp.isfinite(window.moved)
        bad |= nonfinite
        coasted_bad = good < blocks.coast
        first_row = jnp.where(coasted_bad, 0, jnp.where(jnp.any(bad), jnp.argmax(bad), blocks.watch))
        went_bad = coasted_bad | jnp.any(bad)
        bad_step = end - length + jnp.where(coasted_bad, good, blocks.coast + first_row)

        keeps_first = stopping.nonfinite and stopping.blow_up
        counted = first_row if keeps_first else jnp.asarray(blocks.watch)
        last_row = jnp.clip(first_row, 0, blocks.watch - 1) if keeps_first else blocks.watch - 1
        last_loss = jnp.where(coasted_bad & keeps_first, facts.last_loss, window.loss[last_row])
        is_nonfinite = ~jnp.isfinite(last_loss) | (~coasted_bad & nonfinite[last_row])
        is_beyond = ~is_nonfinite & _is_bad(last_loss, facts)

        tail = tail_statistics(window, counted)
        trend, lowest, highest = _trend(slot, tail)
        usable = jnp.where(jnp.arange(blocks.watch) < counted, window.loss, jnp.inf)
        best = jnp.minimum(facts.best_loss, jnp.min(jnp.where(jnp.isnan(usable), jnp.inf, usable)))
        period = repeats = jnp.zeros((), jnp.int32)
        if window.moved is not None:
            period = cycle_period(window.moved)
        if window.memory_moved is not None:
            # Held steps repeat, which proves nothing.
            repeats = jnp.where(end >= length, exact_repetition(window.moved, window.memory_moved), 0)

        converged = tail.norm_max <= facts.tolerance * facts.first_gradient_norm
        ends = [
            (is_nonfinite & stopping.nonfinite, Stop.NONFINITE),
            (is_beyond & stopping.blow_up, Stop.BLOWN_UP),
            (converged & stopping.converged, Stop.CONVERGED),
            ((repeats > 0) & stopping.repeated, Stop.REPEATED),
            (end >= horizon, Stop.HORIZON),
        ]
        stopped = jnp.select(
            [condition for condition, _ in ends], [jnp.int8(code) for _, code in ends], jnp.int8(Stop.UNFINISHED)
        )
        ended_bad = (stopped == Stop.NONFINITE) | (stopped == Stop.BLOWN_UP)
        judged = _with_tail(facts, tail)._replace(
            stopped=stopped,
            steps=jnp.where(ended_bad & keeps_first, bad_step, end),
            best_loss=best,
            last_loss=last_loss,
            trend=trend,
            first_bad_step=jnp.where(went_bad & (facts.first_bad_step < 0), bad_step, facts.first_bad_step),
            period=jnp.where(went_bad, 0, period),
            repeats_after=jnp.where(went_bad, 0, repeats),
        )
        judged = jax.tree.map(lambda new, old: new.astype(old.dtype), judged, facts)
        return slot._replace(facts=judged, lowest_peak=lowest, highest_peak=highest)

    return judge


def _with_tail(facts: Runs, tail: TailStatistics) -> Runs:
    return facts._replace(
        tail_loss=tail.loss,
        tail_gradient_norm_min=tail.norm_min,
        tail_gradient_norm_mean=tail.norm_mean,
        tail_gradient_norm_max=tail.norm_max,
        gradient_rate=tail.rate,
        loss_rises=tail.loss_rises,
    )


def _trend(slot, tail):
    peak, trend = tail.norm_max, slot.facts.trend
    is_first = jnp.isnan(slot.lowest_peak)
    sinks, climbs = peak < slot.lowest_peak, peak > slot.highest_peak
    trend = jnp.where(sinks, jnp.minimum(trend, 0) - 1, jnp.where(climbs, jnp.maximum(trend, 0) + 1, 0))
    lowest = jnp.where(is_first, peak, jnp.minimum(peak, slot.lowest_peak))
    highest = jnp.where(is_first, peak, jnp.maximum(peak, slot.highest_peak))
    return trend, lowest, highest


def _summarised(settings):
    def summarised(slot):
        summaries = {name: obs.summarise(slot.watched[name]) for name, obs in settings.observers.items()}
        return slot.facts._replace(observed=summaries)

    return summarised


def _retire(settings):
    """Write the facts of ended lanes to the log and free their slots."""
    summarise = jax.vmap(_summarised(settings))

    def retire(slots, log):
        ended = (slots.lane >= 0) & (slots.facts.stopped != Stop.UNFINISHED)

        def let_out(log):
            capacity = log.lane.shape[0]
            row = jnp.where(ended, log.count + jnp.cumsum(ended) - 1, capacity)
            lane, facts = jax.tree.map(
                lambda kept, new: kept.at[row].set(new, mode="drop"),
                (log.lane, log.facts),
                (slots.lane, summarise(slots)),
            )
            return Log(lane, facts, log.count + jnp.sum(ended, dtype=jnp.int32))

        log = jax.lax.cond(jnp.any(ended), let_out, lambda log: log, log)
        return slots._replace(lane=jnp.where(ended, -1, slots.lane)), log

    return retire


def _is_bad(loss, facts):
    """Not finite, or beyond the bound; an infinite loss fails the comparison as NaN does."""
    return ~(jnp.abs(loss - facts.first_loss) <= facts.loss_bound)


def _memory(train):
    return (train.opt_state, train.model_state)


def _can_repeat(train):
    """Nothing with a step counter, a key or batches ever comes back, so it need not be watched."""
    floating = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(_memory(train)))
    return floating and train.key is None


def _memory_distance(train, reference):
    return _distance(_memory(train), _memory(reference))


def _distance(tree, reference):
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(reference), strict=True)
    distances = [jnp.max(jnp.abs(a - b)) for a, b in leaves if a.size]
    if not distances:
        return jnp.zeros(())
    common = jnp.result_type(*distances)
    largest = distances[0].astype(common)
    for distance in distances[1:]:
        largest = jnp.maximum(largest, distance.astype(common))
    return largest


def _where(condition, new, old):
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def _column(mask, like):
    return mask.reshape(mask.shape + (1,) * (like.ndim - 1))


def _rows(queue, index):
    return jax.tree.map(lambda leaf: leaf[index], (queue.lane, queue.hyperparams, queue.key))


def _zeros(shape):
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0, impl=jax.random.key_impl(shape)), shape.shape)
    return jnp.zeros(shape.shape, shape.dtype)
