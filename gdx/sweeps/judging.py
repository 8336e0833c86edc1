"""From the record of a window to the facts of one lane, and whether it has ended."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gdx.observers import TailStatistics, cycle_period, exact_repetition, near_period, tail_statistics
from gdx.sweeps.runs import Runs, Stop
from gdx.sweeps.state import Peaks, Settings, Slots, is_bad
from gdx.sweeps.training import follow_training, horizon_of, mean_of_block

STILL = 256
"""Units of rounding of the largest parameter within which nothing has moved: a step that hardly contracts adds up the
roundings of as many steps as it takes to forget one, some hundred at a distance of .2 % from an edge."""
TREND_WINDOWS = 3
"""Windows in a row that must set a new record before a run counts as drifting."""
CYCLE_STEPS = 5
"""Steps that it takes to see a cycle of two come back twice."""
QUARTERS = 4
"""Blocks below which the quarters of a horizon cannot be told apart."""


def make_judge(settings: Settings) -> Callable[..., Slots]:
    """Make the function that brings one lane's facts up to date after a block.

    Parameters
    ----------
    settings
        Static choices.

    Returns
    -------
    callable
        `judge(slot, good, coasted, peak, trained, window) -> slot` of one lane: `good` coasted steps before the first
        bad one, the sum of their training losses; of the watched steps the largest training loss that counts as late,
        training losses [W] and the record [W].
    """
    blocks, stopping = settings.blocks, settings.stopping
    length = blocks.coast + blocks.watch
    horizon = horizon_of(blocks)

    def judge(slot, good, coasted, peak, trained, window):
        facts, end = slot.facts, slot.train.step
        coasted_bad = good < blocks.coast
        watched_good = _good_rows(settings, facts, trained, window)
        went_bad = coasted_bad | (watched_good < blocks.watch)
        bad_step = end - length + jnp.where(coasted_bad, good, blocks.coast + watched_good)

        last_loss = window.loss[blocks.watch - 1]
        if settings.ends_at_first_bad:
            watched_last = window.loss[jnp.minimum(watched_good, blocks.watch - 1)]
            last_loss = jnp.where(coasted_bad, facts.last_loss, watched_last)
        is_beyond = jnp.isfinite(last_loss) & is_bad(last_loss, facts)
        # A finite loss in its bound can still end a run: its gradient or its parameters were not finite.
        is_nonfinite = ~jnp.isfinite(last_loss) | (went_bad & ~is_beyond & settings.ends_at_first_bad)

        tail = tail_statistics(window)
        period, nearly, repeats = _returns(window, end >= length)
        converged = tail.norm_max <= facts.tolerance * facts.first_gradient_norm
        small_gradient, small_change = _stated_rows(settings, facts, window, end - blocks.watch)
        stated = jnp.minimum(small_gradient, small_change)
        is_stated = stated < (watched_good if settings.ends_at_first_bad else blocks.watch)
        counted = jnp.minimum(watched_good, jnp.where(is_stated, stated + 1, blocks.watch))
        low = _lowest(facts, window, jnp.where(coasted_bad, 0, counted))
        peaks = _follow(slot.peaks, tail.norm_max, low)
        ends = {
            Stop.SMALL_GRADIENT: is_stated & (small_gradient <= small_change),
            Stop.SMALL_CHANGE: is_stated,
            Stop.NONFINITE: is_nonfinite & stopping.nonfinite,
            Stop.BLOWN_UP: is_beyond & stopping.blow_up,
            Stop.CONVERGED: converged & stopping.converged,
            Stop.REPEATED: (repeats > 0) & stopping.repeated,
            Stop.HORIZON: end >= horizon,
        }
        stopped = jnp.select(list(ends.values()), [jnp.int8(code) for code in ends], jnp.int8(Stop.UNFINISHED))
        ended_bad = (stopped == Stop.NONFINITE) | (stopped == Stop.BLOWN_UP)
        went_bad &= ~is_stated | (watched_good < stated)
        steps = jnp.where(ended_bad & settings.ends_at_first_bad, bad_step, end)
        if stopping.is_stated:
            steps = jnp.where(is_stated, end - blocks.watch + stated, steps)
            last_loss = jnp.where(is_stated, window.loss[jnp.minimum(stated, blocks.watch - 1)], last_loss)
        judged = _with_tail(settings, facts, tail, ended_bad)._replace(
            stopped=stopped,
            steps=steps,
            tail_steps=jnp.minimum(end, blocks.watch),
            best_loss=jnp.where(facts.first_bad_step < 0, jnp.fmin(facts.best_loss, low), facts.best_loss),
            last_loss=last_loss,
            trend=_trend(peaks, tail.rate, (end + blocks.padding) // length),
            first_bad_step=jnp.where(went_bad & (facts.first_bad_step < 0), bad_step, facts.first_bad_step),
            period=jnp.where(went_bad | converged, 0, period),
            near_period=jnp.where(went_bad & (nearly > 0), 0, nearly),
            still=jnp.where(went_bad, 0, _is_still(window, slot.train.params)),
            repeats_after=jnp.where(went_bad, 0, repeats),
        )
        judged = _with_second_half(settings, facts, judged, slot.peaks, tail.norm_max, end, coasted, window)
        judged, late_total = follow_training(settings, judged, slot.late_total, end, coasted, peak, trained)
        judged = jax.tree.map(lambda new, old: new.astype(old.dtype), judged, facts)
        return slot._replace(facts=judged, peaks=peaks, late_total=late_total)

    return judge


def _good_rows(settings, facts, trained, window):
    """Count the watched steps before the first bad one."""
    is_good = ~is_bad(trained, facts)
    if settings.gradients:
        is_good &= window.gradient_norm < jnp.inf
    if window.moved is not None:
        is_good &= window.moved < jnp.inf
    size = settings.blocks.watch
    # NumPy's rows, since an engine may be built inside somebody's trace and used outside it.
    return jnp.min(jnp.where(is_good, size, np.arange(size, dtype=np.int32)))


def _stated_rows(settings, facts, window, first_step):
    """Find the first watched rows at which the gradient and the loss's change are as small as stated, W for none."""
    size, stopping, every = settings.blocks.watch, settings.stopping, settings.evaluate_every
    rows = np.arange(size, dtype=np.int32)
    none = jnp.int32(size)
    small_gradient = small_change = none
    if stopping.gradient_norm is not None:
        holds = (window.gradient_norm <= stopping.gradient_norm) & (first_step + rows >= 0)
        small_gradient = jnp.min(jnp.where(holds, rows, none))
    if stopping.loss_change is not None:
        # Of a full loss only the rows where it was evaluated; the first is compared with the last of the window before.
        evaluated = rows[::every]
        loss = window.loss[::every]
        before = jnp.concatenate([facts.last_loss[None], loss[:-1]])
        since = first_step + np.concatenate([evaluated[-1:] - size, evaluated[:-1]])
        holds = jnp.abs(loss - before) <= stopping.loss_change * jnp.abs(before)
        small_change = jnp.min(jnp.where(holds & (since >= 0), evaluated, none))
    return small_gradient, small_change


def _returns(window, is_real):
    """Find period, near period and exact repetition, 0 for none; steps held before the first real one prove nothing."""
    none = jnp.zeros((), jnp.int32)
    if window.moved is None:
        return none, none - 1, none
    period, nearly = cycle_period(window.moved), near_period(window.moved)
    if window.moved.shape[0] < CYCLE_STEPS:
        nearly = none - 1
    if window.memory_moved is None:
        return period, nearly, none
    return period, nearly, jnp.where(is_real, exact_repetition(window.moved, window.memory_moved), 0)


def _is_still(window, params):
    """Whether what moved in the window is rounding; unknown, so no, where cycles are left out."""
    if window.moved is None:
        return jnp.zeros((), bool)
    leaves = [leaf for leaf in jax.tree.leaves(params) if leaf.size]
    bounds = [jnp.finfo(leaf.dtype).eps * jnp.max(jnp.abs(leaf)).astype(window.moved.dtype) for leaf in leaves]
    return jnp.max(window.moved) <= STILL * jnp.max(jnp.stack(bounds))


def _lowest(facts, window, num_counted):
    """Smallest watched loss up to the run's end and before its first bad step; infinite for none."""
    rows = np.arange(window.loss.shape[0], dtype=np.int32)
    return jnp.min(jnp.where((rows < num_counted) & ~is_bad(window.loss, facts), window.loss, jnp.inf))


def _with_second_half(settings, before, facts, peaks, norm, end, coasted, window):
    """Add what the horizon's second half says: whether a run that is calm now was so all along."""
    blocks, horizon = settings.blocks, horizon_of(settings.blocks)
    level = jnp.max(window.loss) if settings.is_apart else mean_of_block(blocks, coasted, window.loss)
    rise = jnp.maximum(level - peaks.low, 0)
    is_second, is_last = end > horizon // 2, end > 3 * horizon // 4
    third, last = before.third_quarter_rise, before.last_quarter_rise
    if blocks.number >= QUARTERS:
        third = jnp.where(is_second & ~is_last, jnp.maximum(third, rise), third)
        last = jnp.where(is_last, jnp.maximum(last, rise), last)
    return facts._replace(
        third_quarter_rise=third,
        last_quarter_rise=last,
        calm_gradient_norm=jnp.where(is_second, jnp.fmin(before.calm_gradient_norm, norm), before.calm_gradient_norm),
        climbs=jnp.where(norm > peaks.previous, before.climbs + 1, 0),
    )


def _with_tail(settings, facts: Runs, tail: TailStatistics, has_none: jax.Array) -> Runs:
    num_losses = -(-settings.blocks.watch // settings.evaluate_every)

    def unless_none(value):
        return jnp.where(has_none, jnp.nan, value)

    return facts._replace(
        tail_loss=unless_none(tail.loss),
        tail_gradient_norm_min=unless_none(tail.norm_min),
        tail_gradient_norm_mean=unless_none(tail.norm_mean),
        tail_gradient_norm_max=unless_none(tail.norm_max),
        gradient_rate=unless_none(tail.rate),
        loss_rises=jnp.where(has_none, 0, tail.loss_rises if num_losses > 1 else -1),
    )


def _follow(peaks, peak, low):
    is_first = jnp.isnan(peaks.lowest)
    sinks, climbs = peak < peaks.lowest, peak > peaks.highest
    streak = jnp.where(sinks, jnp.minimum(peaks.streak, 0) - 1, jnp.where(climbs, jnp.maximum(peaks.streak, 0) + 1, 0))
    lowest = jnp.where(is_first, peak, jnp.minimum(peak, peaks.lowest))
    highest = jnp.where(is_first, peak, jnp.maximum(peak, peaks.highest))
    return Peaks(lowest, highest, streak, peak, low)


def _trend(peaks, rate, num_windows):
    """Direction in which a run is still drifting, -1, 0 or 1.

    A chaotic orbit sets a third record in a row once in (n/2)^3 windows. With one window alone there is only its rate.
    """
    drifts = jnp.abs(peaks.streak) >= jnp.minimum(TREND_WINDOWS, num_windows - 1)
    direction = jnp.where(num_windows > 1, jnp.sign(peaks.streak), jnp.sign(rate))
    return jnp.where(drifts & ~jnp.isnan(rate), direction, 0)
