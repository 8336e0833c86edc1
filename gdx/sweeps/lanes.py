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
import numpy as np

from gdx.observers import Observer, TailStatistics, Window, cycle_period, exact_repetition, tail_statistics
from gdx.stepping import TrainState, TrainStep, gradient_norm
from gdx.sweeps.runs import Runs, Stop, Stopping
from gdx.sweeps.sizing import Blocks

if TYPE_CHECKING:
    import chex


TREND_WINDOWS = 3
"""Windows in a row that must set a new record before a run counts as drifting."""


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


class Peaks(NamedTuple):
    """The largest gradient norm of each window so far, leaves [B]."""

    lowest: jax.Array
    highest: jax.Array
    streak: jax.Array
    """Windows in a row that set a new low (counted negative) or a new high (positive), int32."""


class Slots(NamedTuple):
    """B lanes under way, leaves [B, ...]."""

    lane: jax.Array
    """Number of the lane in the queue's count, -1 for a free slot."""
    train: TrainState
    facts: Runs
    peaks: Peaks
    watched: dict[str, Any]
    """Observers' states."""


class Queue(NamedTuple):
    """Waiting lanes, leaves [Q, ...]; rows from `length` on are padding."""

    lane: jax.Array
    hyperparams: Any
    key: chex.PRNGKey
    length: jax.Array | np.ndarray
    is_last: jax.Array | np.ndarray
    """Whether nothing waits behind this queue."""


class Log(NamedTuple):
    """Facts of lanes that have left, in the order of leaving, leaves [C, ...]."""

    lane: jax.Array
    facts: Runs
    filled: jax.Array


class Engine(NamedTuple):
    """Three pure functions; the first two are traced by whoever compiles the third."""

    fill: Callable[[Queue], Slots]
    """All slots free, shaped for this queue."""
    blank_log: Callable[[Slots, int], Log]
    segment: Callable[..., tuple[Slots, Log, jax.Array]]
    """`segment(slots, log, next_row, queue, num_blocks) -> (slots, log, next_row)`."""


def make_engine(step: TrainStep, evaluate: Callable[..., Any], evaluates_apart: bool, settings: Settings) -> Engine:
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
        # Random keys have no zero, so theirs are real; of the rest only the shapes are used and the compiler drops it.
        slots = jax.vmap(fresh)(_rows(queue, jnp.zeros(settings.slots, jnp.int32)))
        blank = jax.tree.map(lambda leaf: leaf if _is_key(leaf) else jnp.zeros_like(leaf), slots)
        return blank._replace(lane=jnp.full(settings.slots, -1, jnp.int32))

    def blank_log(slots, capacity):
        facts = jax.eval_shape(lambda: jax.vmap(_summarised(settings))(slots))
        lane, facts = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype), (slots.lane, facts))
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
            has_room = log.filled + settings.slots <= capacity
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
        return Slots(lane, train, facts, Peaks(nan_norm, nan_norm, none), watched)

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
    keeps_first_bad = stopping.nonfinite and stopping.blow_up

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
            is_bad = _is_bad(view.loss, slots.facts)
            good = jnp.where(is_bad, jnp.minimum(good, row), good)
            if evaluate is None:
                best = jnp.minimum(best, jnp.where(is_bad, jnp.inf, view.loss))
            last = jnp.where(good >= row, view.loss, last) if keeps_first_bad else view.loss
            return (train, watched, best, last, good), None

        facts = slots.facts
        last = facts.last_loss if evaluate is None else jnp.zeros_like(facts.last_loss)
        good = jnp.full(settings.slots, blocks.coast, jnp.int32)
        start = (slots.train, slots.watched, facts.best_loss, last, good)
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
            trained = None if evaluate is None else view.loss
            return (train, watched, evaluated), (trained, loss, norm, moved, memory)

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
        trained = loss if trained is None else trained
        return slots._replace(train=train, watched=watched), (trained, Window(loss, norm, moved, memory))

    judge = _judge(settings)

    def advance(slots):
        good = jnp.full(settings.slots, blocks.coast, jnp.int32)
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
    keeps_first_bad = stopping.nonfinite and stopping.blow_up
    # NumPy's, since an engine may be built inside somebody's trace and used outside it.
    rows = np.arange(blocks.watch, dtype=np.int32)

    def judge(slot, good, trained, window):
        facts, end = slot.facts, slot.train.step
        is_good = ~_is_bad(trained, facts)
        for record in (window.gradient_norm if settings.gradients else None, window.moved):
            if record is not None:
                is_good &= record < jnp.inf
        watched_good = jnp.min(jnp.where(is_good, blocks.watch, rows))
        went_bad = (good < blocks.coast) | (watched_good < blocks.watch)
        bad_step = end - length + jnp.where(good < blocks.coast, good, blocks.coast + watched_good)
        row = jnp.minimum(watched_good, blocks.watch - 1) if keeps_first_bad else blocks.watch - 1
        last_loss = jnp.where((good < blocks.coast) & keeps_first_bad, facts.last_loss, window.loss[row])
        is_beyond = _is_bad(last_loss, facts)
        is_nonfinite = ~jnp.isfinite(last_loss) | (went_bad & ~is_beyond)

        tail = tail_statistics(window)
        peaks = _follow(slot.peaks, tail.norm_max)
        num_windows = (end + blocks.held) // length
        best = jnp.fmin(facts.best_loss, jnp.min(window.loss))
        period = repeats = jnp.zeros((), jnp.int32)
        if window.moved is not None:
            period = cycle_period(window.moved)
        if window.moved is not None and window.memory_moved is not None:
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
            [condition for condition, _ in ends],
            [jnp.int8(code) for _, code in ends],
            jnp.int8(Stop.UNFINISHED),
        )
        ended_bad = (stopped == Stop.NONFINITE) | (stopped == Stop.BLOWN_UP)
        judged = _with_tail(facts, tail, ended_bad)._replace(
            stopped=stopped,
            steps=jnp.where(ended_bad & keeps_first_bad, bad_step, end),
            best_loss=best,
            last_loss=last_loss,
            trend=_trend(peaks, tail.rate, num_windows),
            first_bad_step=jnp.where(went_bad & (facts.first_bad_step < 0), bad_step, facts.first_bad_step),
            period=jnp.where(went_bad, 0, period),
            repeats_after=jnp.where(went_bad, 0, repeats),
        )
        judged = jax.tree.map(lambda new, old: new.astype(old.dtype), judged, facts)
        return slot._replace(facts=judged, peaks=peaks)

    return judge


def _with_tail(facts: Runs, tail: TailStatistics, has_none: jax.Array) -> Runs:
    def unless_none(value):
        return jnp.where(has_none, jnp.nan, value)

    return facts._replace(
        tail_loss=unless_none(tail.loss),
        tail_gradient_norm_min=unless_none(tail.norm_min),
        tail_gradient_norm_mean=unless_none(tail.norm_mean),
        tail_gradient_norm_max=unless_none(tail.norm_max),
        gradient_rate=unless_none(tail.rate),
        loss_rises=jnp.where(has_none, 0, tail.loss_rises),
    )


def _follow(peaks, peak):
    is_first = jnp.isnan(peaks.lowest)
    sinks, climbs = peak < peaks.lowest, peak > peaks.highest
    streak = jnp.where(sinks, jnp.minimum(peaks.streak, 0) - 1, jnp.where(climbs, jnp.maximum(peaks.streak, 0) + 1, 0))
    lowest = jnp.where(is_first, peak, jnp.minimum(peak, peaks.lowest))
    highest = jnp.where(is_first, peak, jnp.maximum(peak, peaks.highest))
    return Peaks(lowest, highest, streak)


def _trend(peaks, rate, num_windows):
    """Direction in which a run is still drifting, -1, 0 or 1.

    A chaotic orbit sets a third record in a row once in (n/2)^3 windows. With one window alone there is only its rate.
    """
    drifts = jnp.abs(peaks.streak) >= jnp.minimum(TREND_WINDOWS, num_windows - 1)
    direction = jnp.where(num_windows > 1, jnp.sign(peaks.streak), jnp.sign(rate))
    return jnp.where(drifts & ~jnp.isnan(rate), direction, 0)


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


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
