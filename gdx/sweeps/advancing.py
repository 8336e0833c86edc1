"""Moving all slots through one block of steps, and recording its last window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdx.observers import Window
from gdx.stepping import TrainStep, gradient_norm
from gdx.stepping.tangents import push_frame
from gdx.sweeps.judging import make_judge
from gdx.sweeps.state import SEARCH_FAILURES, TANGENTS, Settings, Slots, bounds
from gdx.sweeps.training import horizon_of, num_late
from gdx.sweeps.watching import seen_by


def make_advance(step: TrainStep, evaluate: Callable[..., Any] | None, settings: Settings) -> Callable[[Slots], Slots]:
    """Make the function that moves all slots through one block and brings their facts up to date.

    Parameters
    ----------
    step
        The training step of one run.
    evaluate
        `state -> (loss, gradient norm)` of what verdicts are about, None where that is the training loss.
    settings
        Static choices.

    Returns
    -------
    callable
        `advance(slots) -> slots`.
    """
    move = jax.vmap(_make_move(step, settings))
    judge = jax.vmap(make_judge(settings), in_axes=(0, 0, 0, 0, 1, 1))

    def advance(slots):
        slots, good, coasted = _coast(move, slots, settings)
        failures = slots.watched.get(SEARCH_FAILURES)
        slots, trained, peak, window = _watch(move, evaluate, slots, settings)
        if failures is not None:
            in_tail = slots.watched[SEARCH_FAILURES] - failures
            slots = slots._replace(facts=slots.facts._replace(tail_search_failures=in_tail))
        return judge(slots, good, coasted, peak, trained, window)

    return advance


def _make_move(step, settings):
    """One step of one run and of its observers; steps counted below 0 hold still."""
    horizon = horizon_of(settings.blocks)

    def move(train, watched):
        new, view = step.update(train)
        seen = {}
        if TANGENTS in watched:
            frame, growth = push_frame(lambda state: step.update(state)[0], train, watched[TANGENTS])
            seen[TANGENTS], view = frame, view._replace(growth=growth)
        for name, observer in settings.observers.items():
            seen[name] = observer.update(watched[name], seen_by(observer, view, horizon))
        if settings.blocks.padding:
            held = (train._replace(step=new.step), watched)
            moves = train.step >= 0
            new, seen = jax.tree.map(lambda n, o: jnp.where(moves, n, o), (new, seen), held)
        return new, seen, view

    return move


def _coast(move, slots, settings):
    """Make the steps of which only the best loss, the sum and the first bad step are kept: little, since all pay it."""
    facts, coast = slots.facts, settings.blocks.coast

    def body(carry, row):
        train, watched, last, good, best, total = carry
        train, watched, view = move(train, watched)
        is_good = (view.loss <= upper) & (view.loss >= lower)
        good = jnp.where(is_good, good, jnp.minimum(good, row))
        if not settings.is_apart:
            best = jnp.minimum(best, jnp.where(good > row, view.loss, jnp.inf))
        last = jnp.where(good >= row, view.loss, last) if settings.ends_at_first_bad else view.loss
        return (train, watched, last, good, best, total + view.loss.astype(total.dtype)), None

    good = jnp.full(settings.slots, coast, jnp.int32)
    total = jnp.zeros_like(slots.late_total)
    if not coast:
        return slots, good, total
    lower, upper = bounds(facts)
    # Of a run that was bad before, nothing is best any more.
    best = jnp.where(facts.first_bad_step < 0, facts.best_loss, -jnp.inf)
    start = (slots.train, slots.watched, facts.last_loss, good, best, total)
    (train, watched, last, good, best, total), _ = jax.lax.scan(body, start, jnp.arange(coast, dtype=jnp.int32))
    facts = facts._replace(last_loss=last, best_loss=jnp.where(facts.first_bad_step < 0, best, facts.best_loss))
    return slots._replace(train=train, watched=watched, facts=facts), good, total


def _watch(move, evaluate, slots, settings):
    """Make the steps that are recorded; returns training losses [W, B], their largest [B] and the window, [W, B]."""
    reference = slots.train
    knows_repetition = settings.cycles and _can_repeat(reference)

    def distances(train):
        moved = jax.vmap(_distance)(train.params, reference.params) if settings.cycles else None
        memory = jax.vmap(_memory_distance)(train, reference) if knows_repetition else None
        return moved, memory

    def norm_of(gradient):
        return gradient_norm(gradient, settings.frozen)

    def body(carry, row):
        train, watched, evaluated, peak = carry
        moved, memory = distances(train)
        if evaluate is not None:
            due = row % settings.evaluate_every == 0
            evaluated = jax.lax.cond(due, lambda: jax.vmap(evaluate)(train), lambda: evaluated)
        train, watched, view = move(train, watched)
        # Here, since reducing the record for it afterwards costs ten times as much.
        loss = view.loss.astype(peak.dtype)
        peak = jnp.where((row >= first_late) & (loss > peak), loss, peak)
        if evaluate is not None:
            return (train, watched, evaluated, peak), (view.loss, *evaluated, moved, memory)
        norm = jax.vmap(norm_of)(view.gradient) if settings.gradients else None
        return (train, watched, None, peak), (None, view.loss, norm, moved, memory)

    evaluated = None
    if evaluate is not None:
        shapes = jax.eval_shape(jax.vmap(evaluate), slots.train)
        evaluated = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    first_late = max(settings.blocks.watch - num_late(settings.blocks), 0)
    start = (slots.train, slots.watched, evaluated, jnp.full_like(slots.late_total, -jnp.inf))
    rows = jnp.arange(settings.blocks.watch, dtype=jnp.int32)
    (train, watched, _, peak), (trained, loss, norm, moved, memory) = jax.lax.scan(body, start, rows)
    if norm is None:
        norm = jnp.full(loss.shape, jnp.nan, slots.facts.first_gradient_norm.dtype)
    window = Window(loss, norm, moved, memory)
    trained = loss if trained is None else trained
    return slots._replace(train=train, watched=watched), trained, peak, window


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
