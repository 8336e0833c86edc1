"""What became of every run: whether it came to rest, cycles, wanders or diverged."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import check_number
from gdx.observers import LyapunovExponents
from gdx.records import legend
from gdx.sweeps import Runs, Stop
from gdx.sweeps.state import is_bad

if TYPE_CHECKING:
    from jaxtyping import Array, Int8

FADING = 0.25
"""Share of the third quarter's climbs that those of the last quarter stay below where a run comes to rest. Down to a
tolerance t its loss sinks by a factor sqrt(t) from quarter to quarter, 1e-3 at the default one."""
STEADY = 0.5
"""Share of the third quarter's climbs that those of the last stay below where an oscillation dies down that is slower
than the tail is long: of one that goes on both are about the same."""
CLIMBS, LONG_CLIMBS, GROWTH = 3, 6, 10.0
"""Windows in a row, each with a larger gradient than the one before, and the factor above the calmest one, that tell a
run which leaves again from one at rest; the second number where all that is within rounding of the first gradient."""
CREEP = 0.5
"""Share of the fall of its gradient so far, in logarithms, below which a run would sink as much again at its present
rate: it creeps. One that sinks evenly has 1, a power of the number of steps next to nothing."""
ROUNDING = 1000.0
"""Machine epsilons of the first loss, or of the first gradient norm, below which nothing is told from rounding."""


@legend
class Verdict(enum.IntEnum):
    """What became of a run.

    Examples
    --------
    Continues the example of `gdx`.

    >>> [gdx.Verdict(int(code)).name for code in gdx.verdicts(runs)[:, 0]]
    ['CONVERGED', 'CONVERGED', 'DIVERGED', 'DIVERGED']
    """

    CONVERGED = 0
    """The gradient norm stayed at or below the tolerance over the whole tail, and the horizon's second half does not
    contradict it."""
    SETTLING = 1
    """Not there yet, but the loss did not rise once in the tail, nor come back up in the horizon's last quarter."""
    CYCLING = 2
    """The orbit comes back after two steps or more."""
    APERIODIC = 3
    """Bounded, rising and falling, without a period within the tail, not even nearly, and without a trend; or at rest
    in the tail alone, after bursts in both last quarters of the horizon."""
    DIVERGED = 4
    """The loss was no longer finite, or beyond the blow-up bound."""
    UNDECIDED = 5
    """The loss rises and falls while the size of the gradient still drifts, the orbit is nearly a cycle, or a tail at
    rest came after a burst or grows again: a longer horizon would tell. Also where a fact that would is left out."""
    STRANDED = 6
    """Stands still where it should not: its line search or solver found no step all through the tail, far from rest;
    or it creeps towards rest, as at a saddle, at a loss clearly above one that it had before or the known minimum."""
    CHAOTIC = 7
    """Bounded, and neighbouring runs part: the largest Lyapunov exponent is above 0 by more than its bar. Told where a
    run was watched by `gdx.observers.lyapunov`; the rest stays aperiodic, or cycling by rounding."""


class Evidence(NamedTuple):
    """What facts say, as bool arrays [S, R] that do not exclude each other."""

    unfinished: Any
    diverged: Any
    stuck: Any
    """The line search or solver found no step all through the tail, far from rest."""
    fell_back: Any
    """Creeps towards rest at a loss clearly above one that it had before."""
    held_up: Any
    """Creeps towards rest at a loss clearly above the known minimum."""
    at_rest: Any
    """The gradient norm stayed at or below the tolerance over the whole tail."""
    never_rose: Any
    """The loss did not rise once in the tail, and two losses or more were compared."""
    cycling: Any
    burst_late: Any
    """The loss came back up in the last quarter of the horizon, no less than in the one before."""
    burst_twice: Any
    """And in the one before as well."""
    fades: Any
    """The loss came back up in the last quarter of the horizon by clearly less than in the one before."""
    growing: Any
    knows_gradient: Any
    knows_cycles: Any


@np.errstate(all="ignore")
def verdicts(runs: Runs, tolerance: float | None = None) -> Int8[Array, "S R"]:
    """Say what became of every run.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    tolerance
        Largest gradient norm over the tail, relative to the first, of a run that has converged; by default what the
        sweep was told. Runs that the sweep retired as converged were watched no further: a tighter tolerance
        than the sweep's leaves them settling or undecided.

    Returns
    -------
    array
        `Verdict` codes, int8, [S, R].

    Notes
    -----
    Verdicts are tried in the order diverged, stranded, undecided and aperiodic where a quiet tail is contradicted,
    converged, cycling, settling, undecided, aperiodic. Cycling stands before settling since a symmetric cycle has one
    loss at all its points, which never rises.

    A tail says nothing of bursts that are further apart than it is long. So runs that are quiet in the tail are
    contradicted by a loss that climbed, in the last quarter of the horizon, above that of a window before, by more
    than rounding and by more than a quarter of what it did in the third quarter: of what comes to rest climbs fade.
    They are contradicted, too, by a gradient that grew from window to window up to the end.

    Where nothing moves but rounding, a cycle among neighbouring numbers is none: such runs have converged if their
    gradient has sunk by the square root of machine precision, however tight the tolerance, and are else undecided.

    Runs that cycle or are aperiodic and were watched by `gdx.observers.lyapunov` are chaotic where their exponent is
    above 0 beyond its bar: in float32 chaos comes back to its own numbers after hundreds of steps. Other aperiodic runs
    may move on a closed curve, on a cycle longer than half of the tail, or have bursts far apart.

    Without gradients nothing can be called converged or settling, without cycles nothing aperiodic; such runs are
    undecided.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.verdicts(runs)  # codes of gdx.Verdict
    array([[0, 0],
           [0, 0],
           [4, 4],
           [4, 4]], dtype=int8)
    """
    xp, facts = namespace(runs)
    seen = evidence(xp, facts, tolerance)
    quiet = seen.at_rest | seen.never_rose
    contradicted = quiet & (seen.burst_late | (seen.at_rest & seen.growing))
    wanders = (facts.trend == 0) & (facts.near_period == 0) & (facts.still == 0) & ~seen.fades
    codes = xp.select(
        [
            seen.unfinished,
            seen.diverged,
            seen.stuck,
            ~seen.knows_gradient,
            # Where it still sinks, an oscillation slower than the tail may only be dying down.
            contradicted & seen.burst_twice & seen.at_rest,
            contradicted,
            seen.at_rest & (seen.fell_back | seen.held_up),
            seen.at_rest,
            seen.cycling,
            seen.never_rose & (seen.knows_cycles | _falls(xp, facts)),
            wanders,
        ],
        [
            Verdict.UNDECIDED,
            Verdict.DIVERGED,
            Verdict.STRANDED,
            Verdict.UNDECIDED,
            Verdict.APERIODIC,
            Verdict.UNDECIDED,
            Verdict.STRANDED,
            Verdict.CONVERGED,
            Verdict.CYCLING,
            Verdict.SETTLING,
            Verdict.APERIODIC,
        ],
        Verdict.UNDECIDED,
    )
    # A cycle whose neighbours part is held together by rounding alone, as those of chaos in float32 are.
    wandering = (codes == Verdict.APERIODIC) | (codes == Verdict.CYCLING)
    codes = xp.where(wandering & _parts(xp, runs), Verdict.CHAOTIC, codes)
    return codes.astype(jnp.int8)


@np.errstate(all="ignore")
def evidence(xp: Any, facts: Runs, tolerance: float | None) -> Evidence:
    """Read what facts say, before any order among it.

    Parameters
    ----------
    xp, facts
        As `namespace` gives them.
    tolerance
        As in `verdicts`.

    Returns
    -------
    Evidence
    """
    if isinstance(tolerance, (int, float, str)):
        check_number("tolerance", tolerance, 0, float("inf"), "leave it out for the sweep's")
    limit = facts.tolerance if tolerance is None else tolerance
    eps = jnp.finfo(facts.first_loss.dtype).eps
    ended_bad = (facts.stopped == Stop.NONFINITE) | (facts.stopped == Stop.BLOWN_UP)
    still = facts.still > 0
    # What neighbouring numbers leave of a gradient may be above the tolerance, in float32 above all.
    bound = xp.where(still, xp.maximum(limit, xp.sqrt(eps)), limit)
    at_rest = facts.tail_gradient_norm_max <= bound * facts.first_gradient_norm
    repeated = facts.stopped == Stop.REPEATED
    fallen = xp.maximum(facts.first_loss - facts.best_loss, 0)
    scale = xp.maximum(abs(facts.first_loss), abs(facts.best_loss))
    visible = xp.maximum(limit**2 * fallen, ROUNDING * eps * scale)
    burst_late = (facts.last_quarter_rise > visible) & (facts.last_quarter_rise > FADING * facts.third_quarter_rise)
    grown = facts.tail_gradient_norm_max / GROWTH > facts.calm_gradient_norm
    above_rounding = facts.tail_gradient_norm_max > ROUNDING * eps * facts.first_gradient_norm
    # Towards a minimum the gradient sinks by a factor a step, towards a flat saddle by a power of their number.
    sunk = xp.log(facts.first_gradient_norm / facts.tail_gradient_norm_max)
    creeps = above_rounding & (abs(facts.gradient_rate) * facts.steps < CREEP * sunk)
    clear = xp.maximum(limit ** (2 / 3) * fallen, visible)
    # At a minimum as good as rounding lets it be a search finds nothing better either.
    far_from_rest = ~(facts.tail_gradient_norm_max <= xp.sqrt(eps) * facts.first_gradient_norm) & ~at_rest
    searches_in_vain = (facts.tail_search_failures > 0) & (facts.tail_search_failures >= facts.tail_steps)
    return Evidence(
        unfinished=facts.stopped == Stop.UNFINISHED,
        diverged=ended_bad | is_bad(facts.last_loss, facts),
        stuck=searches_in_vain & far_from_rest & ~xp.isnan(facts.tail_gradient_norm_max),
        fell_back=creeps & (facts.tail_loss - facts.best_loss > clear),
        held_up=creeps & (facts.tail_loss - facts.minimum > clear),
        at_rest=at_rest,
        never_rose=facts.loss_rises == 0,
        cycling=(facts.period >= 2) & ~still,
        burst_late=burst_late & ~repeated,
        burst_twice=burst_late & ~repeated & (facts.third_quarter_rise > visible),
        fades=(facts.third_quarter_rise > visible)
        & (facts.last_quarter_rise < STEADY * facts.third_quarter_rise)
        & ~repeated,
        growing=(facts.climbs >= xp.where(above_rounding, CLIMBS, LONG_CLIMBS)) & grown,
        knows_gradient=~xp.isnan(facts.tail_gradient_norm_max),
        knows_cycles=facts.near_period >= 0,
    )


def namespace(runs: Runs) -> tuple[Any, Runs]:
    """Choose NumPy where all facts are on the host, so that nothing is compiled; else jax.numpy, which also traces.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].

    Returns
    -------
    module, Runs
        The facts as its arrays, without observers' summaries.
    """
    facts = runs._replace(observed={})
    xp = np if all(isinstance(value, np.ndarray) for value in jax.tree.leaves(facts)) else jnp
    return xp, jax.tree.map(xp.asarray, facts)


def _parts(xp, runs):
    """Whether neighbouring runs part, where somebody watched."""
    found = [seen for seen in runs.observed.values() if isinstance(seen, LyapunovExponents)]
    if not found:
        return False
    return xp.asarray(found[0].exponents[..., 0] - found[0].errors[..., 0] > 0)


def _falls(xp, facts):
    """Whether the loss fell through the tail, which no cycle does."""
    eps = jnp.finfo(facts.first_loss.dtype).eps
    return facts.tail_loss - facts.last_loss > 8 * eps * abs(facts.last_loss)
