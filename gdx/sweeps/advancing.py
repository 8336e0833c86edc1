"""Moving all slots through one block of steps, and recording its last window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdx.observers import Window
from gdx.stepping import TrainStep, gradient_norm
from gdx.sweeps.judging import make_judge
from gdx.sweeps.state import Settings, Slots, is_bad


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
    blocks = settings.blocks
    move = jax.vmap(_make_move(step, settings))
    judge = jax.vmap(make_judge(settings), in_axes=(0, 0, 1, 1))

    def advance(slots):
        good = jnp.full(settings.slots, blocks.coast, jnp.int32)
        if blocks.coast:
            slots, good = _coast(move, slots, good, settings, evaluate is None)
        slots, trained, window = _watch(move, evaluate, slots, settings)
        return judge(slots, good, trained, window)

    return advance


def _make_move(step, settings):
    """One step of one run and of its observers; steps counted below 0 hold still."""

    def move(train, watched):
        new, view = step.update(train)
        seen = {name: obs.update(watched[name], view) for name, obs in settings.observers.items()}
        if settings.blocks.held:
            held = (train._replace(step=new.step), watched)
            moves = train.step >= 0
            new, seen = jax.tree.map(lambda n, o: jnp.where(moves, n, o), (new, seen), held)
        return new, seen, view

    return move


def _coast(move, slots, good, settings, judges_training_loss):
    """Make the steps of which only the best loss and the first bad step are kept."""
    facts = slots.facts

    def body(carry, row):
        train, watched, best, last, good = carry
        train, watched, view = move(train, watched)
        bad = is_bad(view.loss, facts)
        good = jnp.where(bad, jnp.minimum(good, row), good)
        if judges_training_loss:
            best = jnp.minimum(best, jnp.where(bad, jnp.inf, view.loss))
        last = jnp.where(good >= row, view.loss, last) if settings.keeps_first_bad else view.loss
        return (train, watched, best, last, good), None

    start = (slots.train, slots.watched, facts.best_loss, facts.last_loss, good)
    rows = jnp.arange(settings.blocks.coast, dtype=jnp.int32)
    (train, watched, best, last, good), _ = jax.lax.scan(body, start, rows)
    facts = facts._replace(best_loss=best, last_loss=last)
    return slots._replace(train=train, watched=watched, facts=facts), good


def _watch(move, evaluate, slots, settings):
    """Make the steps that are recorded; returns the training losses and the window, arrays [W, B]."""
    reference = slots.train
    knows_repetition = settings.cycles and _can_repeat(reference)

    def distances(train):
        moved = jax.vmap(_distance)(train.params, reference.params) if settings.cycles else None
        memory = jax.vmap(_memory_distance)(train, reference) if knows_repetition else None
        return moved, memory

    def norm_of(gradient):
        return gradient_norm(gradient, settings.frozen)

    def body(carry, row):
        train, watched, evaluated = carry
        moved, memory = distances(train)
        if evaluate is not None:
            due = row % settings.evaluate_every == 0
            evaluated = jax.lax.cond(due, lambda: jax.vmap(evaluate)(train), lambda: evaluated)
        train, watched, view = move(train, watched)
        if evaluate is not None:
            return (train, watched, evaluated), (view.loss, *evaluated, moved, memory)
        norm = (
            jax.vmap(lambda tree: gradient_norm(tree, settings.frozen))(view.gradient) if settings.gradients else None
        )
        return (train, watched, None), (None, view.loss, norm, moved, memory)

    evaluated = None
    if evaluate is not None:
        shapes = jax.eval_shape(jax.vmap(evaluate), slots.train)
        evaluated = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    start = (slots.train, slots.watched, evaluated)
    carry, record = jax.lax.scan(body, start, jnp.arange(settings.blocks.watch))
    (train, watched, _), (trained, loss, norm, moved, memory) = carry, record
    if norm is None:
        norm = jnp.full_like(loss, jnp.nan)
    window = Window(loss, norm, moved, memory)
    trained = loss if trained is None else trained
    return slots._replace(train=train, watched=watched), trained, window


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
