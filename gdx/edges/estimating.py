"""Which estimator applies to the edge of a start, and what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.edges.edge import Bracket, Edge
from gdx.edges.estimates import Estimate, EstimateKind, nothing
from gdx.edges.growth import is_linear, slopes, zero_of_growth
from gdx.edges.hard import departed, two_sided
from gdx.edges.oscillation import ladder, settled, zero_of_gradient
from gdx.edges.probing import WIDTH, Probe
from gdx.problems.base import Problem
from gdx.stepping import Family, resolve_problem, transformation_of
from gdx.sweeps import Sweep
from gdx.verdicts import Answer

if TYPE_CHECKING:
    import chex

SURVEY = (0.5, 0.7, 0.85, 0.95, 0.99, 1.01, 1.03, 1.07, 1.12, 1.2, 1.35, 1.55, 1.8, 2.2, 3.0, 4.0)
"""Multiples of the last success at which runs are looked at first."""
NEAR = 4.0
"""A run is near a loss of stability while its rate times the horizon is below this many times ln(1/tolerance)."""
MAX_STEPS = 20_000
"""Longest horizon of the runs behind an estimate, which are kept step by step; more adds nothing but time."""
ROUNDS = 3
COARSEST = 1e-2
"""Largest relative error that is still worth a number."""


def estimate_edge(probe: Probe, key: chex.PRNGKey, lower: float, upper: float, tolerance: float) -> Estimate:
    """Estimate the edge of one start without the shift of a finite horizon, and decide what kind it is.

    Soft, hard and the start's own basin belong to a problem and a start. At the last step size that converges,
    |rate| * T near ln(1/tolerance) means that a minimum loses its stability there; much larger means that the start
    leaves its basin.

    Parameters
    ----------
    probe
        Of the problem and family, with the horizon T.
    key
        One typed key: whose start it is.
    lower, upper
        Step sizes at which that start met the criterion and no longer did.
    tolerance
        Of convergence, relative to the first gradient norm.

    Returns
    -------
    Estimate
        With `repeat` 0. Cost: at most some 15 rounds of 16 runs over the horizon, mostly half of that.

    Notes
    -----
    Assumes that a step does not depend on how many came before it, and float64 throughout; `unsuited` checks both
    where it can be seen beforehand.
    """
    kind, method, found, reason = _decide(probe, key, lower, upper, tolerance)
    if kind is EstimateKind.NONE:
        found, method = nothing(reason), ""
    return Estimate(found.value, found.error, kind, method, reason, 0, probe.num_runs, probe.num_gradients)


def no_estimate(reason: str) -> Estimate:
    """Give the estimate where none applies.

    Parameters
    ----------
    reason
        One sentence for a person.

    Returns
    -------
    Estimate
    """
    return Estimate(math.nan, math.nan, EstimateKind.NONE, "", reason, -1, 0, 0)


def unsuited(problem: Problem | Callable[[Any], Problem], family: Family, step_size: float, key: Any) -> str:
    """Say why no estimator can apply, before anything is run.

    Parameters
    ----------
    problem, family
        As in `sweep`.
    step_size
        Any valid one.
    key
        One typed key.

    Returns
    -------
    str
        Empty where nothing speaks against it.
    """
    here = resolve_problem(problem, jnp.asarray(step_size))
    if here.batches is not None:
        return "with mini-batches the gradient norm neither vanishes below an edge nor settles above it"
    params = jax.eval_shape(lambda key: here.init(key)[0], key)
    if any(leaf.dtype != np.float64 for leaf in [*jax.tree.leaves(params), jnp.asarray(step_size)]):
        return 'below float64 rounding hides the edge; call jax.config.update("jax_enable_x64", True)'
    state = jax.eval_shape(lambda key: transformation_of(family, step_size).init(here.init(key)[0]), key)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
        return "an optimizer that draws random numbers has no orbit that comes to rest or to a cycle"
    return ""


def estimate_of(run: Sweep, keys: chex.PRNGKey, edge: Edge) -> Estimate:
    """Estimate the edge of the start that goes on meeting the criterion the longest before it first fails.

    Parameters
    ----------
    run
        The sweep that found the edge.
    keys
        Typed random keys [R], one a start.
    edge
        Its brackets and answers.

    Returns
    -------
    Estimate
    """
    brackets = [_first_crossing(edge.step_sizes, column) for column in edge.answers.T]
    repeat = int(np.argmax([-math.inf if math.isnan(pair.lower) else pair.lower for pair in brackets]))
    lower, upper = brackets[repeat]
    if math.isnan(lower):
        return no_estimate(f"no start fails above step sizes at which it succeeds: {edge.status.value}")
    why_not = unsuited(run.problem, run.family, lower, keys[repeat])
    if why_not:
        return no_estimate(why_not)._replace(repeat=repeat)
    probe = Probe(run.problem, run.family, min(run.num_steps, MAX_STEPS))
    return estimate_edge(probe, keys[repeat], lower, upper, edge.tolerance)._replace(repeat=repeat)


def _first_crossing(step_sizes, found):
    """One start's last success before its first failure above a success, and that failure.

    Beyond it islands may follow where the start succeeds again, by way of another minimum or a saddle.
    """
    met = np.flatnonzero(found == Answer.MET)
    failed = np.flatnonzero((found == Answer.FAILED) & (np.arange(found.size) > (met[0] if met.size else found.size)))
    if failed.size == 0:
        return Bracket(math.nan, math.nan)
    return Bracket(float(step_sizes[met[met < failed[0]][-1]]), float(step_sizes[failed[0]]))


def _decide(probe, key, lower, upper, tolerance):
    survey = probe(lower * np.array(SURVEY), key)
    if probe.depends_on_count(survey):
        return _none("a step depends on how many came before it (a schedule, or a bias correction)")
    if is_linear(survey):
        return _linear(probe, key, survey, lower)
    (lower, upper), why_not = _narrowed(probe, key, survey, (lower, min(upper, 2 * lower)), tolerance)
    if why_not:
        return _none(why_not)
    above = ladder(probe, key, lower)
    rate = slopes(above).half[0]
    resolution = math.log(1 / tolerance) / probe.num_steps
    is_local = abs(rate) <= NEAR * resolution
    if is_local:
        above = settled(probe, key, lower, above, tolerance)
    beyond = ~above.arrived(tolerance) & (above.step_sizes > lower)
    if np.sum(above.cycles & beyond) >= 2:
        found = zero_of_gradient(probe, key, above)
        nearest = above.step_sizes[above.cycles & beyond].min()
        is_near = is_local or found.value - lower <= lower * resolution
        if is_near and found.is_number and lower <= found.value + found.error and found.value < nearest:
            return _worth(EstimateKind.SOFT, "oscillating side", found, "beyond it the gradient norm rises from zero")
    return _two_sided(probe, key, (lower, upper), (above, beyond, is_local), tolerance)


def _linear(probe, key, survey, lower):
    rates = slopes(survey).half
    # Beyond the edge growth is plain to see; far below, what has decayed to rounding may seem to grow.
    decays = survey.step_sizes[np.isfinite(rates) & (rates < 0)]
    below = float(decays.max(initial=0.0))
    grows = survey.step_sizes[np.isfinite(rates) & (rates > 0) & (survey.step_sizes > below)]
    if decays.size == 0 or grows.size == 0:
        return _none("no run decays below the step sizes at which runs grow")
    found = zero_of_growth(probe, key, below, float(grows.min()))
    if found.is_number and found.value < 0.99 * lower:
        return _none("runs converge beyond the step size at which the growth rate passes zero")
    return _worth(EstimateKind.LINEAR, "growth rate", found, "runs grow at a constant rate beyond it")


def _narrowed(probe, key, survey, bracket, tolerance):
    """Nearest runs on both sides: one that reaches the tolerance and one that certainly will not; or why not."""
    lower, upper = bracket
    step_sizes, ok, left = survey.step_sizes, survey.arrived(tolerance), departed(survey, tolerance)
    gone = left & (step_sizes > lower)
    for _ in range(ROUNDS):
        traces = probe(np.linspace(lower, upper, WIDTH), key)
        step_sizes = np.concatenate([step_sizes, traces.step_sizes])
        ok = np.concatenate([ok, traces.arrived(tolerance)])
        left = np.concatenate([left, departed(traces, tolerance)])
        gone = left & (step_sizes > bracket[0])
        # Beyond the first failure a start may come to rest again, by way of a saddle: those are no neighbours.
        limit = min(step_sizes[gone].min(initial=math.inf), bracket[1])
        below = ok & (step_sizes < limit)
        if not below.any():
            return bracket, "no run below the first failure comes to rest within the horizon"
        lower = float(step_sizes[below].max())
        upper = min(float(step_sizes[step_sizes > lower].min(initial=math.inf)), bracket[1])
        # Closer than what the horizon resolves of a loss of stability there is nothing more to learn.
        if upper - lower <= lower * math.log(1 / tolerance) / probe.num_steps:
            break
    if not gone.any():
        return bracket, "beyond the first failure runs neither escape nor settle into a cycle within the horizon"
    nearest = float(step_sizes[gone].min())
    if np.any(ok & (step_sizes > lower) & (step_sizes < nearest)):
        return bracket, "beyond the first failure runs come to rest again before any certainly does not"
    return (lower, nearest), ""


def _two_sided(probe, key, bracket, looked, tolerance):
    above, beyond, is_local = looked
    gone = departed(above, tolerance) & beyond
    lower, upper = bracket
    first_escapes, falls = True, False
    if gone.any():
        at = int(np.argmax(gone))
        first_escapes = bool(above.escaped[at])
        upper = min(upper, float(above.step_sizes[at]))
        cycles = above.levels[above.cycles & beyond]
        falls = cycles.size > 1 and bool(cycles[0] < 0.5 * cycles[-1])
    # A run of the ladder may converge beyond the one that was the last so far.
    inside = above.arrived(tolerance) & (above.step_sizes < upper)
    lower = max([lower, *above.step_sizes[inside]])
    found = two_sided(probe, key, lower, upper, tolerance)
    if is_local:
        # Just above a loss of stability what grows may begin at rounding, and a run arrives before it is seen.
        unseen = math.log(1 / np.finfo(float).eps) / probe.num_steps
        found = found._replace(error=found.error + unseen * found.value)
    if first_escapes:
        kind = EstimateKind.HARD if is_local else EstimateKind.BASIN
        reason = "runs escape beyond it" if is_local else "beyond it this start leaves its basin and escapes"
    elif is_local and falls:
        kind, reason = EstimateKind.SOFT, "runs cycle beyond it, too few of them stationary for a fit"
    elif is_local:
        kind, reason = EstimateKind.JUMP, "runs cycle beyond it, at once at a finite gradient norm"
    else:
        kind, reason = EstimateKind.JUMP, "beyond it this start ends in a cycle; the minimum is still stable"
    return _worth(kind, "two-sided search", found, reason)


def _worth(kind, method, found, reason):
    if not found.is_number:
        return _none(found.reason)
    if not found.error <= COARSEST * found.value:
        return (
            EstimateKind.NONE,
            "",
            nothing(""),
            f"the best estimate, {found.value:.3g} +- {found.error:.1g}, is too coarse",
        )
    return kind, method, found, reason


def _none(reason):
    return EstimateKind.NONE, "", nothing(reason), reason
