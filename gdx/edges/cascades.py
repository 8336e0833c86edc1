"""Where cycles double their period, one doubling after the other, and where that ends in chaos.

A cycle is polished by Newton's method, the derivative of as many steps as it has points is a product of single steps'
derivatives, and a secant finds the step size at which one of its eigenvalues passes -1. Each search starts from where
the last one ended. The second road knows no derivative: runs a little below that step size must go round the cycle,
runs a little above it one of twice the period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.problems.base import Problem
from gdx.records import record
from gdx.stepping import Family, TrainState, train_step
from gdx.stepping.tangents import movable, push, with_movable

FEIGENBAUM = 4.669201609102990
"""By what the distance between doublings shrinks; only ever a guess where to look for the next."""
FIRST_GAP = 0.2
"""Share of the first doubling's step size up to the second, where nobody knows better."""
INSIDE = (0.4, 0.2, 0.1, 0.05)
"""Shares of the way to the next doubling at which its cycle is looked for: just beyond the last one it is small and
slow to reach, and where the way was guessed too long it is no cycle of that period any more."""
OFF = 1e-3
"""Share of its size by which runs start off a point of the last cycle, at which they would stay."""
SETTLE, NEWTON_STEPS, SECANTS = 4000, 8, 60
FLAT = 1e-9
"""Share of the largest singular value of derivative minus one below which a direction is a valley's: Newton's method
then takes the shortest way."""
PASSES = 1e-4
"""Distance from -1 within which an eigenvalue counts as -1, and beyond 1 within which it counts as stable: that of a
valley's direction is the root of rounding off."""
CLOSED = 1e-9
"""Share of a cycle's size within which it has come back to where it began."""
BESIDE = 0.1
"""Share of the gap to the doubling before, divided by Feigenbaum's number, by which runs on either side are away."""
RETURNS = 1e-6
"""Share of an orbit's size within which a run has come back."""


@record
class Doubling(NamedTuple):
    """A step size at which a cycle loses stability to one of twice its period.

    Examples
    --------
    Continues the example of `gdx.edges.period_doublings`.

    >>> first = found.doublings[0]
    >>> first.period, round(first.step_size, 9), first.error < 1e-9
    (1, 1.0, True)
    """

    step_size: float
    """Where it is."""
    error: float
    """From the secant's last move and how well the cycle closes."""
    period: int
    """Of the cycle that loses stability, steps; 1 for a minimum."""


@record
class Cascade(NamedTuple):
    """Doublings in a row.

    Examples
    --------
    Continues the example of `gdx.edges.period_doublings`.

    >>> [round(float(ratio), 1) for ratio in found.ratios], found.note
    ([4.5, 4.6], '')
    """

    doublings: tuple[Doubling, ...]
    """Ascending."""
    note: str
    """Why it ends before as many as were asked for; empty where it does not."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of each gap between doublings to the next, which approach Feigenbaum's 4.669."""
        gaps = np.diff([one.step_size for one in self.doublings])
        return tuple((gaps[:-1] / gaps[1:]).tolist())

    @property
    def onset(self) -> tuple[float, float]:
        """Where doublings accumulate and chaos begins, and an error; NaN with fewer than five of them.

        Aitken's extrapolation of the last three; the error is its difference from that of the three before, which is
        some five times its own, and what the last gap makes of the doublings' errors.
        """
        sizes = np.array([one.step_size for one in self.doublings])
        if sizes.size < 5:
            return math.nan, math.nan
        last, before = _aitken(sizes[-3:]), _aitken(sizes[-4:-1])
        return last, abs(last - before) + 2 * max(one.error for one in self.doublings[-3:])


@record
class Cycles(NamedTuple):
    """Compiled functions of a state and a number of steps.

    Examples
    --------
    Continues the example of `gdx.edges.make_cycles`.

    >>> cycles.orbit(state, 4).round(4)[:, 0]  # two points, in turn
    Array([0.8146, 1.1161, 0.8146, 1.1161], dtype=float64)
    """

    settle: Callable[[TrainState, Any], TrainState]
    """Where that many steps lead."""
    polish: Callable[[TrainState, Any], tuple[TrainState, Any, Any, Any]]
    """A point of a cycle of that period nearby, the derivative of going round it, how far it is from closing and from
    closing after half of the period."""
    orbit: Callable[[TrainState, int], Any]
    """The next points as vectors, [steps, n]."""


def make_cycles(problem: Problem | Callable[[Any], Problem], family: Family) -> Cycles:
    """Compile what a search for doublings needs.

    Parameters
    ----------
    problem, family
        As in `gdx.train_step`. What is no floating number in a state, such as a count of steps, stays as it is.

    Returns
    -------
    Cycles

    Examples
    --------
    >>> import jax, optax, gdx
    >>> problem = gdx.problems.quartic(start=0.9)
    >>> cycles = gdx.edges.make_cycles(problem, optax.sgd)
    >>> state = cycles.settle(gdx.train_step(problem, optax.sgd).init(1.1, jax.random.key(0)), 4_000)
    >>> state, derivative, open_by, _ = cycles.polish(state, 2)
    >>> bool(open_by < 1e-14), round(float(derivative[0, 0]), 6)  # the cycle's multiplier
    (True, 0.18)
    """
    step = train_step(problem, family)

    def move(state):
        return with_movable(state, movable(step.update(state)[0]))

    @jax.jit
    def settle(state, num_steps):
        return jax.lax.fori_loop(0, num_steps, lambda _, state: move(state), state)

    def around(z, state, period):
        """After one period: where, with the derivative there, and where half of it led."""
        start, unravel = ravel_pytree(movable(state))
        state = with_movable(state, unravel(z))

        def advance(count, carry):
            state, columns, half = carry
            new, pushed = jax.vmap(lambda tangent: push(move, state, tangent), out_axes=(None, 0))(columns)
            return new, pushed, jnp.where(count + 1 == period // 2, ravel_pytree(movable(new))[0], half)

        columns = jax.vmap(unravel)(jnp.eye(z.size, dtype=z.dtype))
        state, columns, half = jax.lax.fori_loop(0, period, advance, (state, columns, z))
        derivative = jax.vmap(lambda column: ravel_pytree(column)[0])(columns).T
        return ravel_pytree(movable(state))[0], derivative.astype(start.dtype), half

    @jax.jit
    def polish(state, period):
        start, unravel = ravel_pytree(movable(state))

        def newton(_, z):
            end, derivative, _ = around(z, state, period)
            return z - jnp.linalg.pinv(derivative - jnp.eye(z.size, dtype=z.dtype), rtol=FLAT) @ (end - z)

        z = jax.lax.fori_loop(0, NEWTON_STEPS, newton, start)
        end, derivative, half = around(z, state, period)
        return with_movable(state, unravel(z)), derivative, jnp.max(jnp.abs(end - z)), jnp.max(jnp.abs(half - z))

    def orbit(state, num_steps):
        def body(state, _):
            return move(state), ravel_pytree(movable(state))[0]

        return jax.lax.scan(body, state, length=num_steps)[1]

    return Cycles(settle, polish, jax.jit(orbit, static_argnums=1))


def period_doublings(
    cycles: Cycles,
    at: Callable[[float], Any],
    state: TrainState,
    *,
    near: float,
    number: int,
    known: Sequence[Doubling] = (),
    guesses: Sequence[float] = (),
    scale: float = 0.0,
) -> Cascade:
    """Find period doublings, beginning with that of the minimum, or the cycle, that a state lies at.

    Parameters
    ----------
    cycles
        Of the problem and the family, see `make_cycles`.
    at
        From a step size to the hyperparameters there.
    state
        At the minimum or a point of the cycle, about, where it is stable.
    near
        A step size below the first doubling at which that is so.
    number
        Doublings wanted, with those that are known.
    known
        Doublings that were found otherwise; the state then lies on the cycle that the last of them leads to. Where
        minima form a valley the first is that of the flattest, which an edge's estimate knows and a state does not.
    guesses
        About where all of them are, as far as that is known; the others are guessed from the gaps before them.
    scale
        Size of the largest number of a start, say, for states that lie at zero.

    Returns
    -------
    Cascade
        Up to the first that could not be found, or that runs on either side do not bear out.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> problem = gdx.problems.quartic(start=0.9)
    >>> start = gdx.train_step(problem, optax.sgd).init(0.5, jax.random.key(0))
    >>> cycles = gdx.edges.make_cycles(problem, optax.sgd)
    >>> found = gdx.edges.period_doublings(cycles, lambda step_size: step_size, start, near=0.9, number=4)
    >>> [round(one.step_size, 6) for one in found.doublings]
    [1.0, 1.236068, 1.288032, 1.299228]
    """
    found = list(known)
    scale, is_given = max(scale, _size(state), float(np.finfo(np.float32).eps)), True
    for _ in range(number - len(found)):
        # A minimum stays where it is, whatever the step size.
        period, gap = (2 * found[-1].period, _next_gap(found, guesses)) if found else (1, math.inf)
        one, reached, note = None, state, ""
        for inside in (0.0,) if is_given else INSIDE:
            start = near if is_given else found[-1].step_size + inside * gap
            begun = _moved(state if is_given else _off(state, scale), at(start))
            one, reached, note = _doubling(cycles, at, cycles.settle(begun, SETTLE), period, start, gap)
            if not note:
                break
        if one is None:
            return Cascade(tuple(found), note)
        way = one.step_size - found[-1].step_size if found else FIRST_GAP * one.step_size
        note = _contradicted(cycles, at, _off(reached, scale), one, BESIDE * way / FEIGENBAUM, scale)
        if note:
            return Cascade(tuple(found), note)
        found.append(one)
        state, is_given = reached, False
    return Cascade(tuple(found), "")


def _next_gap(found, guesses):
    """From the last doubling to the next, about."""
    last = found[-1].step_size
    if len(guesses) > len(found) and guesses[len(found)] > last:
        return guesses[len(found)] - last
    return (last - found[-2].step_size) / FEIGENBAUM if len(found) > 1 else FIRST_GAP * last


def _doubling(cycles, at, state, period, start, stride):
    """The step size at which an eigenvalue along a cycle is -1, where the cycle is, and what speaks against it."""

    def look(step_size, state):
        state, derivative, open_by, _ = cycles.polish(_moved(state, at(step_size)), period)
        # Smooth where eigenvalues meet and become complex, as the least of them is not.
        derivative = np.asarray(derivative, float)
        value = float(np.linalg.det(np.eye(len(derivative)) + derivative)) if np.isfinite(derivative).all() else np.nan
        return value, state, float(open_by)

    before, after = start, start + 0.1 * min(stride, start)
    (one, state, _), (other, _, _) = look(before, state), look(after, state)
    open_by, move = np.inf, np.inf
    for _ in range(SECANTS):
        if not np.isfinite(one + other):
            return None, state, f"Newton's method loses the cycle of period {period} near {after:.6g}"
        if other == one or abs(after - before) < 1e-15 * abs(after):
            break
        # Newton's method loses a cycle that moves too far between two step sizes.
        move = float(np.clip(-other * (after - before) / (other - one), -0.2 * stride, 0.2 * stride))
        before, after, one = after, after + move, other
        other, state, open_by = look(after, state)
    note = _why_none(cycles, at, state, period, after, open_by)
    error = float(abs(move) + 4 * np.finfo(float).eps * period * abs(after))
    return (None if note else Doubling(after, error, period)), state, note


def _why_none(cycles, at, state, period, step_size, open_by):
    """What speaks against a doubling at a step size."""
    state, derivative, _, half = cycles.polish(_moved(state, at(step_size)), period)
    size = _size(state)
    eigenvalues = np.linalg.eigvals(np.asarray(derivative, float))
    if not np.min(np.abs(eigenvalues + 1)) < PASSES:
        return (
            f"no eigenvalue of the cycle of period {period} was seen to pass -1; it may lose stability otherwise, "
            "as where a symmetry breaks or it turns into a closed curve"
        )
    if not open_by <= CLOSED * size:
        return f"the cycle of period {period} near {step_size:.6g} does not close"
    if period > 1 and not half > RETURNS * size:
        return f"the cycle of period {period} near {step_size:.6g} is one of {period // 2}"
    if np.abs(eigenvalues).max() > 1 + PASSES:
        return f"the cycle of period {period} near {step_size:.6g} has lost stability before, otherwise"
    return ""


def _contradicted(cycles, at, state, doubling, beside, scale):
    """What runs on either side of a doubling say against it; empty where they bear it out."""
    for side, expected in ((-1, doubling.period), (1, 2 * doubling.period)):
        step_size = doubling.step_size + side * beside
        settled = cycles.settle(_moved(state, at(step_size)), 4 * SETTLE * doubling.period)
        points = np.asarray(cycles.orbit(settled, 4 * doubling.period + 1))
        seen = _period(points, OFF * scale)
        if seen != expected:
            what = f"a cycle of period {seen}" if seen else "no such cycle"
            return f"a run at {step_size:.6g}, where the cycle should have period {expected}, shows {what}"
    return ""


def _period(points, least):
    """Of an orbit that has settled: steps after which it is back for good, 0 where it is not."""
    size = max(float(np.max(np.abs(points))), least) if np.all(np.isfinite(points)) else np.nan
    for lag in range(1, points.shape[0]):
        if np.max(np.abs(points[lag:] - points[:-lag])) <= RETURNS * size:
            return lag
    return 0


def _moved(state, hyperparams):
    return state._replace(hyperparams=jax.tree.map(jnp.asarray, hyperparams))


def _size(state):
    return float(jnp.max(jnp.abs(ravel_pytree(movable(state))[0])))


def _off(state, scale):
    """Off where a state is, in proportion to its size, or to the scale where that is next to nothing."""
    by = OFF * max(_size(state), OFF * scale)
    return with_movable(state, tuple(leaf + jnp.asarray(by, leaf.dtype) for leaf in movable(state)))


def _aitken(three):
    first, second, third = three
    return float(third - (third - second) ** 2 / (third - 2 * second + first))
