"""What runs do beyond the edge: which values they visit, whether they forget their start, and where that changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.checks import check_count, check_number
from gdx.edges import Cascade, Doubling, Edge, EstimateKind, critical_step_size, make_cycles, period_doublings
from gdx.observers import Observer, extent, last_values, lyapunov
from gdx.problems.base import Problem, check_problem
from gdx.progress import shows_progress
from gdx.records import record
from gdx.stepping import Family, gradient_norm, train_step
from gdx.stepping.tangents import movable
from gdx.sweeps import Runs, sweep
from gdx.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    import chex

TAIL = 192
"""Steps of a tail: it tells periods up to 95."""
BELOW, FURTHEST, NUM_FAR = 0.9, 8.0, 65
"""Where the axis begins, as a share of the edge; how far runs are looked for that stay bounded, in edges; at how many
step sizes."""
NOT_BEYOND = 1.02
"""Share of the last step size that keeps a run bounded at which the axis ends."""
MOST_NUMBERS = 64
"""That a step moves, up to which derivatives of whole cycles are taken."""
JUMP, SAME = 1.5, 1.2
"""Factor by which the range of a chaotic orbit grows at once where attractors merge, and factor within which it is the
same over a longer horizon: what wanders ever further has no range."""
MULTISECTION, ROUNDS, LONGER = 17, 2, 4
"""Step sizes of each round that closes in on a jump, rounds, and by what the horizon of a second look is longer."""
NEW_PERIODS = 5
"""Doublings up to which the scan's own periods say where to look."""


@record
class Jump(NamedTuple):
    """A step size beyond which a chaotic run moves over a wider range at once, as where attractors merge.

    Examples
    --------
    >>> from gdx.studies import Jump
    >>> Jump(1.59, 1.60, 0.8, 2.6).after  # the range beyond
    2.6
    """

    lower: float
    """Largest step size at which the range is the narrow one, also over four times the horizon."""
    upper: float
    """Smallest at which it is the wide one; of a shorter look the jump is late, never early."""
    before: float
    """The range at `lower`, in units of what is shown."""
    after: float
    """The same at `upper`; infinite where it grows with the horizon."""


@record
class Bifurcation(NamedTuple):
    """Runs below and beyond an edge, and where what they do changes.

    Examples
    --------
    Continues the example of `gdx.studies.bifurcation`.

    >>> found.values.shape, [one.period for one in found.cascade.doublings]
    ((20, 1, 128), [1, 2, 4])
    """

    step_sizes: np.ndarray
    """[S], ascending."""
    runs: Runs
    """Facts, leaves [S, R]; `observed` holds "values", "extent" and "lyapunov"."""
    shown: str
    """What the values are of."""
    edge: Edge
    """Of convergence."""
    cascade: Cascade
    """Doublings from the edge on, of the start that the edge's estimate is of; others may lie on other attractors."""
    start: int
    """That start, a row of keys; -1 where there is none."""
    onset: float
    """Where doublings accumulate and chaos begins; NaN with fewer than five, or where exponents contradict it."""
    onset_error: float
    """Its error; NaN likewise."""
    onset_note: str
    """Why there is none; empty where there is one."""
    jumps: tuple[Jump, ...]
    """Where the range of chaotic runs widens at once."""

    @property
    def values(self) -> np.ndarray:
        """Of every run's last steps, [S, R, V]; NaN of runs that left."""
        return np.asarray(self.runs.observed["values"])

    @property
    def exponents(self) -> np.ndarray:
        """Largest Lyapunov exponents, [S, R]."""
        return np.asarray(self.runs.observed["lyapunov"].exponents)[..., 0]

    @property
    def errors(self) -> np.ndarray:
        """Their bars, [S, R]."""
        return np.asarray(self.runs.observed["lyapunov"].errors)[..., 0]

    @property
    def verdicts(self) -> np.ndarray:
        """`gdx.Verdict` codes [S, R]."""
        return np.asarray(verdicts(self.runs))


@shows_progress()
def bifurcation(
    problem: Problem,
    family: Family,
    *,
    keys: chex.PRNGKey,
    step_sizes: Any = None,
    num_points: int = 512,
    of: str | int | Callable[[Any], Any] = "auto",
    num_steps: int = 8192,
    num_values: int = 128,
    num_doublings: int = 7,
    tolerance: float = 1e-6,
    progress: Callable[[str, int, int], None] | bool | None = None,
) -> Bifurcation:
    """Run a problem at step sizes below and beyond its edge, and locate doublings, the onset of chaos and jumps.

    Parameters
    ----------
    problem
        A Problem without batches.
    family
        `step_size -> optax transformation`.
    keys
        Typed keys [R], one a start.
    step_sizes
        [S]; by default from .9 of the edge to the last that keeps any run bounded, evenly.
    num_points
        S where step sizes are left out.
    of
        What is shown: "loss", "gradient_norm", the number of a parameter when all are joined to one vector, or a
        function `view -> number`; by default the first parameter of up to three, else the loss.
    num_steps
        The horizon T; the first half of it is the way to where a run goes.
    num_values
        V, of the last steps.
    num_doublings
        Most that are looked for.
    tolerance
        Of convergence, relative to the first gradient norm.
    progress
        Called as `progress(stage, finished, total)`; by default a bar, as in `Sweep.__call__`, False for none.

    Returns
    -------
    Bifurcation

    Raises
    ------
    ValueError
        If an argument is out of range, or no edge is found from which to choose step sizes.

    Notes
    -----
    Two roads each: the first doubling is the edge of `gdx.critical_step_size`, which has two of its own; further ones
    are those of the cycle's multiplier, and runs on either side must show the periods; chaos begins where doublings
    accumulate, and no exponent below may be positive beyond its bar, while one above is; a jump is bisected at two
    horizons.

    Examples
    --------
    >>> import jax, numpy as np, optax, gdx
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> sizes = np.linspace(0.9, 1.35, 20)
    >>> found = gdx.studies.bifurcation(
    ...     gdx.problems.quartic(start=0.9), optax.sgd, keys=keys, step_sizes=sizes, num_steps=2048, num_doublings=3
    ... )
    >>> [round(one.step_size, 6) for one in found.cascade.doublings]
    [1.0, 1.236068, 1.288032]
    """
    check_problem(problem, keys[0])
    if problem.batches is not None:
        raise ValueError(
            "problem: it has batches, and runs that draw them neither come to rest nor cycle; "
            "pass one that trains on its full loss"
        )
    counts = {"num_points": num_points, "num_steps": num_steps, "num_values": num_values}
    for name, value in counts.items():
        check_count(name, value, "pass a whole number")
    check_count("num_doublings", num_doublings, "pass 0 to look for none", 0)
    if num_values > num_steps:
        raise ValueError(f"num_values: {num_values} are more than the {num_steps} steps of a run; pass fewer")
    check_number("tolerance", tolerance, 0, math.inf, "the default suits most problems")
    shown, watch = _shown(problem, keys[0], of)

    def staged(stage):
        return functools.partial(progress, stage) if callable(progress) else None

    edge = critical_step_size(
        problem,
        family,
        keys=keys,
        num_steps=num_steps,
        criterion="converged",
        tolerance=tolerance,
        progress=staged("edge"),
    )
    run = _watched(problem, family, watch, num_steps, num_values, tolerance)
    if step_sizes is None:
        step_sizes = _axis(run, edge, keys, num_points, staged("axis"))
    sizes = np.unique(np.asarray(step_sizes, float))
    runs = run(sizes, keys, progress=staged("runs"))
    cascade, start = _cascade(problem, family, keys, edge, sizes, runs, num_steps, num_doublings)
    jumps = _jumps(problem, family, watch, keys, sizes, runs, num_steps, tolerance)
    found = Bifurcation(sizes, runs, shown, edge, cascade, start, math.nan, math.nan, "", jumps)
    onset, error, note = _onset(found)
    return found._replace(onset=onset, onset_error=error, onset_note=note)


def _shown(problem, key, of):
    """The name of what is shown, and a function of a view."""
    params = jax.eval_shape(problem.init, key)[0]
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    if callable(of):
        return getattr(of, "__name__", "what was asked for").replace("<lambda>", "what was asked for"), of
    if of == "auto":
        of = 0 if size <= 3 else "loss"
    if of == "loss":
        return "loss", lambda view: view.loss
    if of == "gradient_norm":
        return "gradient norm", lambda view: gradient_norm(view.gradient)
    if isinstance(of, bool) or not isinstance(of, int) or not 0 <= of < size:
        raise ValueError(
            f"of: {of!r} is none of loss, gradient_norm and parameters 0 to {size - 1}; choose one of them"
        )
    return f"parameter {of}", lambda view: ravel_pytree(view.params)[0][of]


def _watched(problem, family, watch, num_steps, num_values, tolerance):
    observers: dict[str, Observer] = {"extent": extent(watch), "lyapunov": lyapunov()}
    if num_values:
        observers["values"] = last_values(watch, num_values)
    return sweep(problem, family, num_steps=num_steps, tail=TAIL, tolerance=tolerance, observers=observers)


def _axis(run, edge, keys, num_points, progress):
    """From below the edge to where no run stays bounded any more."""
    place = edge.estimate.value if math.isfinite(edge.estimate.value) else edge.last_success.lower
    if not (math.isfinite(place) and place > 0):
        raise ValueError(f"step_sizes: no edge was found to choose them by ({edge.status.value}); pass some")
    far = np.geomspace(place, FURTHEST * place, NUM_FAR)
    codes = np.asarray(verdicts(run(far, keys, progress=progress)))
    stays = np.flatnonzero(np.any(codes != Verdict.DIVERGED, axis=1))
    last = far[stays[-1]] if stays.size else place
    return np.linspace(BELOW * place, max(NOT_BEYOND * last, place * (2 - BELOW)), num_points)


def _cascade(problem, family, keys, edge, sizes, runs, num_steps, number):
    """Doublings, from the edge on where it is a doubling, of the first start that cycles beyond it."""
    template = jax.eval_shape(train_step(problem, family).init, jnp.asarray(1.0), keys[0])
    moved = sum(leaf.size for leaf in movable(template))
    if moved > MOST_NUMBERS:
        return Cascade((), f"a step moves {moved} numbers; derivatives of cycles are taken of up to {MOST_NUMBERS}"), -1
    estimate, periods = edge.estimate, np.where(np.asarray(verdicts(runs)) == Verdict.CYCLING, runs.period, 0)
    if not math.isfinite(estimate.value):
        return Cascade((), f"the edge has no estimate: {estimate.reason}"), -1
    if estimate.kind is not EstimateKind.SOFT:
        return Cascade((), f"the edge is {estimate.kind.value}: no cycle grows out of the minimum there"), -1
    beyond = sizes > estimate.value + estimate.error
    start = estimate.repeat
    # Right beyond the edge the cycle is small, and slow to reach.
    rows = np.flatnonzero((periods[:, start] == 2) & beyond)
    if not rows.size:
        return Cascade((), f"start {start}, whose edge that is, does not cycle with period 2 beyond it"), start
    place = rows[(rows.size - 1) // 2]
    guesses = [estimate.value]
    for power in range(1, NEW_PERIODS):
        new = np.flatnonzero((periods[:, start] == 2 ** (power + 1)) & beyond)
        if not new.size:
            break
        guesses.append(float(sizes[new[0]]))
    cycles, step = make_cycles(problem, family), train_step(problem, family)
    begun = step.init(jnp.asarray(sizes[place]), keys[start])
    state = cycles.settle(begun, num_steps)
    first = Doubling(estimate.value, estimate.error, 1)
    scale = float(jnp.max(jnp.abs(ravel_pytree(movable(begun))[0])))
    found = period_doublings(
        cycles,
        lambda step_size: step_size,
        state,
        near=float(sizes[place]),
        number=number,
        known=[first],
        guesses=guesses,
        scale=scale,
    )
    return found, start


def _onset(found):
    """Where chaos begins, where exponents bear it out."""
    onset, error = found.cascade.onset
    if math.isnan(onset):
        return math.nan, math.nan, "chaos is extrapolated from five doublings or more"
    is_chaotic = found.verdicts[:, found.start] == Verdict.CHAOTIC
    first = found.cascade.doublings[0].step_size
    early = found.step_sizes[is_chaotic & (found.step_sizes > first) & (found.step_sizes < onset - error)]
    if early.size:
        return math.nan, math.nan, f"its exponent is positive at {early[0]:.6g} already, below {onset:.6g}"
    if not np.any(is_chaotic & (found.step_sizes > onset)):
        return math.nan, math.nan, f"no exponent beyond {onset:.6g} is above 0 by more than its bar"
    return onset, error, ""


def _jumps(problem, family, watch, keys, sizes, runs, num_steps, tolerance):
    """Where the range of a chaotic run widens at once, each closed in on at two horizons."""
    wide = _ranges(runs)
    chaotic = np.asarray(verdicts(runs)) == Verdict.CHAOTIC
    with np.errstate(invalid="ignore"):
        widens = chaotic[:-1] & chaotic[1:] & (wide[1:] > JUMP * wide[:-1])
    found = []
    for place, start in np.argwhere(widens):
        if any(sizes[place] <= jump.upper and jump.lower <= sizes[place + 1] for jump in found):
            continue
        middle, key = math.sqrt(wide[place, start] * wide[place + 1, start]), keys[start][None]
        looks = [_watched(problem, family, watch, horizon, 0, tolerance) for horizon in (num_steps, LONGER * num_steps)]
        ends = [_closed_in(run, key, sizes[place], sizes[place + 1], middle) for run in looks]
        lower, upper = min(end[0] for end in ends), max(end[1] for end in ends)
        # A range that grows evenly passes the middle too: what counts is that it differs where the search ended.
        (before, after), (later, finally_) = (
            _ranges(run(np.array([lower, upper]), key, progress=False))[:, 0] for run in looks
        )
        if max(before, later) <= SAME * min(before, later) and min(after, finally_) > JUMP * max(before, later):
            found.append(Jump(lower, upper, float(later), float(finally_ if finally_ <= SAME * after else math.inf)))
    return tuple(found)


def _closed_in(run, key, lower, upper, middle):
    for _ in range(ROUNDS):
        points = np.linspace(lower, upper, MULTISECTION + 2)
        is_wide = _ranges(run(points[1:-1], key, progress=False))[:, 0] > middle
        first = int(np.argmax(is_wide)) if is_wide.any() else MULTISECTION
        lower, upper = points[first], points[first + 1]
    return float(lower), float(upper)


def _ranges(runs):
    seen = runs.observed["extent"]
    return np.asarray(seen.largest) - np.asarray(seen.least)
