"""Where runs really stop converging, by plain optax loops and dense Hessians; nothing of gdx.

A run has come to rest where its gradient norm stays below a billionth of the first one all through the last eighth of
its steps; it comes to rest where it falls from eighth to eighth. It has failed where loss or parameters were no longer
finite at any step, or where it does neither. The edge is where the first failure above a success begins, bracketed by
grids of such runs, each finer and longer than the last. Where the run just below it rests at a minimum whose largest
Hessian eigenvalue is the optimizer's threshold over the step size, up to what the horizon resolves, the edge is that
minimum's, and the eigenvalue gives it to rounding.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from truths.draws import KINDS, OPTIMIZERS, Case

EIGHTHS = 8
REST = 1e-9
"""Gradient norm, relative to the first, below which a run rests."""
FALLS = 0.99
"""Of a run that comes to rest, each eighth after the first two has at most this share of the largest gradient of the
one before it."""
HORIZONS = (5_000, 10_000, 40_000)
LANES = 32
"""Step sizes side by side; always as many, so that nothing compiles twice."""
WIDE = (1e-2, 1e2)
"""Ends of the first grid, in units of the threshold at the minimum nearest to the start."""
COARSEST, FINEST = 1e-4, 1e-12
"""Relative widths of a bracket, at most, before anything is concluded from it, and where rounding ends."""
NEAR = 1e-4
"""Gradient norm, relative to the first, of a run next to a minimum."""
UNSEEN = 1e-3
"""How far beyond the loss of a minimum's stability, relative, runs may still come to rest at it: up to there what grows
from rounding is not seen within the longest horizon."""


class Truth(NamedTuple):
    """The edge of convergence of one start."""

    value: float
    uncertainty: float
    kind: str
    """"local", where the minimum that was reached loses its stability; "basin", where runs leave a stable one;
    "alternating", where answers alternate in a zone as wide as the uncertainty; "none"."""
    note: str
    lower: float
    """Of the bracket by plain runs: comes to rest."""
    upper: float
    """Does not."""


@functools.cache
def _program(name: str, optimizer: str):
    loss, family = KINDS[name].loss, OPTIMIZERS[optimizer].family

    def one(start, numbers, step_size, num_steps):
        tx = family(step_size)
        gradient = jax.grad(loss)

        def step(i, carry):
            w, state, largest = carry
            value, g = jax.value_and_grad(loss)(w, numbers)
            updates, state = tx.update(g, state, w)
            # Outside its domain a loss is NaN where its gradient may be finite, as that of a logarithm is.
            norm = jnp.where(jnp.isfinite(value), optax.tree.norm(g), jnp.inf)
            return optax.apply_updates(w, updates), state, largest.at[i * EIGHTHS // num_steps].max(norm)

        first = optax.tree.norm(gradient(start, numbers))
        w, _, largest = jax.lax.fori_loop(0, num_steps, step, (start, tx.init(start), jnp.zeros(EIGHTHS)))
        return w, largest / first

    return jax.jit(jax.vmap(one, in_axes=(None, None, 0, None)))


class Ends(NamedTuple):
    """Ends of runs at `step_sizes` [N]."""

    step_sizes: Any
    params: Any
    largest: Any
    """[N, EIGHTHS], largest gradient norm in each eighth of the run, relative to the first."""

    @property
    def rests(self) -> Any:
        """Runs that rest."""
        return self.largest[:, -1] <= REST

    @property
    def settles(self) -> Any:
        """Runs that rest, or come to rest."""
        # All but the first: of four that come and go at random, one run in 24 would seem to fall.
        last = self.largest[:, 1:]
        falls = np.all(last[:, 1:] <= FALLS * last[:, :-1], axis=1)
        return np.isfinite(last).all(axis=1) & (self.rests | falls)


def runs(case: Case, step_sizes: Any, num_steps: int) -> Ends:
    """Run a plain optax loop at every step size.

    Parameters
    ----------
    case
        What is run.
    step_sizes
        [N].
    num_steps
        Horizon.

    Returns
    -------
    Ends
    """
    program, numbers = _program(case.name, case.optimizer), jax.tree.map(jnp.asarray, case.numbers)
    step_sizes = np.asarray(step_sizes, float)
    found = []
    for i in range(0, step_sizes.size, LANES):
        lanes = np.resize(step_sizes[i : i + LANES], LANES)
        params, largest = program(case.start, numbers, lanes, num_steps)
        number = min(LANES, step_sizes.size - i)
        found.append((np.asarray(params)[:number], np.asarray(largest)[:number]))
    params, largest = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # max() passes over NaN on some devices: what is no longer finite at the end was not before either.
    bad = ~np.isfinite(params.reshape(params.shape[0], -1)).all(axis=1) | ~np.isfinite(largest).all(axis=1)
    return Ends(step_sizes, params, np.where(bad[:, None], np.inf, largest))


@functools.cache
def _hessian(name: str):
    loss = KINDS[name].loss

    def at(w, numbers):
        flat, back = ravel_pytree(w)

        def value(x):
            return loss(back(x), numbers)

        return flat, jax.grad(value)(flat), jax.hessian(value)(flat)

    return jax.jit(at)


def largest_curvature(case: Case, w: Any, polish: bool = True) -> tuple[float, float]:
    """Polish a point to the minimum next to it by Newton's method, and take the largest and smallest eigenvalue there.

    Parameters
    ----------
    case
        Of the loss.
    w
        A point near a minimum.
    polish
        Whether Newton steps are taken, along curved directions alone.

    Returns
    -------
    largest, smallest
    """
    numbers = jax.tree.map(jnp.asarray, case.numbers)
    w = jnp.asarray(w)
    _, back = ravel_pytree(w)
    for _ in range(4 if polish else 0):
        flat, g, h = _hessian(case.name)(w, numbers)
        values, vectors = np.linalg.eigh(np.asarray(h))
        curved = np.abs(values) > 1e-6 * np.abs(values).max()
        step = vectors[:, curved] @ ((vectors[:, curved].T @ np.asarray(g)) / values[curved])
        w = back(flat - step)
    values = np.linalg.eigvalsh(np.asarray(_hessian(case.name)(w, numbers)[2]))
    return float(values[-1]), float(values[0])


def _scale(case: Case) -> float:
    """Threshold over the largest curvature near a minimum, by small steps of gradient descent from the start."""
    curvature, _ = largest_curvature(case, case.start, polish=False)
    gain = OPTIMIZERS[case.optimizer].gain or 2.0
    around = gain / max(abs(curvature), 1e-3)
    found = runs(case, around * np.geomspace(1e-2, 10, LANES), HORIZONS[0])
    rested = np.flatnonzero(found.largest[:, -1] <= 1e-4)
    if rested.size == 0:
        return around
    curvature, _ = largest_curvature(case, found.params[rested[0]])
    return gain / max(curvature, 1e-3)


def _first_crossing(step_sizes, settles):
    """Indices of the last success before the first failure above a success."""
    good = np.flatnonzero(settles)
    if good.size == 0:
        return None
    bad = np.flatnonzero(~settles & (np.arange(step_sizes.size) > good[0]))
    return None if bad.size == 0 else (bad[0] - 1, bad[0])


def find(case: Case, near: float | None = None) -> Truth:
    """Find the first edge of convergence of a case, or one near a step size.

    Parameters
    ----------
    case
        Loss, start, optimizer.
    near
        A step size, to look for an edge within 2e-3 of it; by default the first one of all that a grid of neighbours
        5 % apart shows.

    Returns
    -------
    Truth
    """
    grid = _scale(case) * np.geomspace(*WIDE, 6 * LANES) if near is None else near * np.linspace(0.998, 1.002, LANES)
    found = runs(case, grid, HORIZONS[0])
    at = _first_crossing(grid, found.settles)
    if at is None:
        note = "nothing settles" if not found.settles.any() else "nothing fails"
        return Truth(np.nan, np.nan, "none", note, np.nan, np.nan)
    floor, lower, upper, zone = grid[np.argmax(found.settles)], grid[at[0]], grid[at[1]], 0.0
    for num_steps in HORIZONS:
        narrowed = _narrowed(case, lower, upper, num_steps)
        if narrowed is None:
            # What fell for a while did not go on falling.
            narrowed = _narrowed(case, floor, upper, num_steps, 6 * LANES)
        if narrowed is None:
            return Truth(np.nan, np.nan, "none", f"nothing settles within {num_steps} steps", np.nan, np.nan)
        lower, upper, zone = narrowed
    while upper - lower > COARSEST * upper and zone == 0:
        lower, upper, zone = _narrowed(case, lower, upper, HORIZONS[-1]) or (lower, upper, upper - lower)
    return _judged(case, lower, upper, zone)


def _narrowed(case, lower, upper, num_steps, number=LANES):
    """Take the first crossing of runs between the ends, which are included, and the zone in which answers alternate.

    None where the lower end does not settle; where all do, the interval above the upper end.
    """
    grid = np.geomspace(lower, upper, number)
    for _ in range(4):
        settles = runs(case, grid, num_steps).settles
        at = _first_crossing(grid, settles)
        if at is not None or not settles[0]:
            break
        grid = np.geomspace(grid[-1], grid[-1] * grid[-1] / grid[0], number)
    if at is None or not settles[0]:
        return None
    again = np.flatnonzero(settles[at[1] :])
    zone = grid[at[1] + again[-1]] - grid[at[0]] if again.size else 0.0
    return grid[at[0]], grid[at[1]], zone


def _excess(case, step_sizes, num_steps):
    """Step size times curvature over the threshold, less one, at the points that runs reach; NaN where they do not."""
    found = runs(case, step_sizes, num_steps)
    gain = OPTIMIZERS[case.optimizer].gain
    excess = []
    for step_size, w, largest in zip(step_sizes, found.params, found.largest, strict=True):
        # Where some direction is flat a run is still on its way, next to the minimum that Newton's method finds.
        curvature, smallest = largest_curvature(case, w) if largest[-1] <= NEAR else (np.nan, 0.0)
        excess.append(step_size * curvature / gain - 1 if smallest > -1e-6 * curvature else np.nan)
    return np.array(excess)


def _judged(case, lower, upper, zone):
    """Tell a minimum's loss of stability from a start that leaves its basin."""
    middle, width = 0.5 * (lower + upper), upper - lower
    if OPTIMIZERS[case.optimizer].gain is None:
        return Truth(middle, width, "alternating" if zone else "bracketed", "no threshold", lower, upper)
    # Where runs come to rest below the edge, at shares of it that halve.
    shares = 2.0 ** -np.arange(5.0, 11.0)
    excess = _excess(case, lower * (1 - shares), HORIZONS[2])
    roots = lower * (1 - shares) / (1 + excess)
    good = np.isfinite(roots)
    if good[-3:].all():
        value, uncertainty = _extrapolated(shares[good], roots[good])
        # Below the edge a run falls visibly from 1e-6 of it on; above it, what grows may begin at rounding, or be held
        # by rounding for ever.
        is_held = _rests_where_it_is_repelled(case, lower, value)
        if (is_held or -UNSEEN * value <= value - middle) and value - middle <= 1e-5 * value + width:
            return Truth(value, uncertainty, "local", f"minimum moves {np.ptp(roots[good]) / value:.0e}", lower, upper)
    if zone > 0:
        return Truth(middle, max(zone, width), "alternating", "", lower, upper)
    # Away from a loss of stability runs are decided soon, if they are not slow in another direction.
    horizon = HORIZONS[1] if _told(case, lower, upper) else HORIZONS[2]
    for _ in range(6):
        if upper - lower <= FINEST * upper:
            break
        lower, upper, zone = _narrowed(case, lower, upper, horizon) or (lower, upper, upper - lower)
        if zone > 0:
            return Truth(lower, max(zone, upper - lower), "alternating", "", lower, upper)
    note = f"minimum would stand {roots[-1] / middle:.4g} of it" if good[-1] else "saddle or no rest below"
    return Truth(0.5 * (lower + upper), upper - lower, "basin", note, lower, upper)


def _rests_where_it_is_repelled(case, step_size, value):
    """Whether a run rests at the minimum that loses its stability at a smaller step size, so that rounding holds it."""
    excess = _excess(case, [step_size], HORIZONS[2])[0]
    return excess > 0 and abs(step_size / (1 + excess) - value) <= 1e-9 * value


def _told(case, lower, upper):
    """Whether the middle horizon tells both ends as the longest one did."""
    return list(runs(case, [lower, upper], HORIZONS[1]).settles) == [True, False]


def _extrapolated(shares, roots):
    """Limit of the roots as the share goes to 0, where the minimum moves with the step size, and its uncertainty."""
    if np.ptp(roots) <= 1e-12 * roots[-1]:
        return float(roots[-1]), 1e-13 * float(roots[-1])
    limits = [np.polyfit(shares[-n:], roots[-n:], n - 1)[-1] for n in (3, 4) if shares.size >= n]
    return float(limits[-1]), float(abs(limits[-1] - limits[0])) + 1e-12 * float(roots[-1])
