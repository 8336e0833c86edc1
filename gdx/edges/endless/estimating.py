"""The edge of one start without the shift of a finite horizon."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.edges.edge import Bracket, Edge
from gdx.edges.endless.choice import Start
from gdx.edges.endless.choosing import choose
from gdx.edges.endless.estimates import Estimate, EstimateKind
from gdx.edges.endless.probing import Probe
from gdx.edges.endless.steps import MAX_PERIOD, is_affine
from gdx.edges.endless.traces import Sides
from gdx.exploring import Along, hyperparams_at
from gdx.problems.base import Problem
from gdx.responses.parities import survey, update_of
from gdx.responses.scalings import stand_in_for
from gdx.stepping import Family, resolve_problem, transformation_of
from gdx.sweeps import Sweep
from gdx.verdicts import Answer, answers

if TYPE_CHECKING:
    import chex

MAX_STEPS = 20_000
"""Longest horizon of the runs behind an estimate, which are kept step by step; more adds nothing but time."""
_probes: weakref.WeakKeyDictionary[Sweep, Probe] = weakref.WeakKeyDictionary()
ANSWERABLE = ("converged", "stable", "bounded")
"""Criteria whose edges are those of an endless run."""


def estimate_edge(
    probe: Probe,
    key: chex.PRNGKey,
    lower: float,
    upper: float,
    tolerance: float,
    criterion: str = "converged",
    last: float = 0.0,
) -> Estimate:
    """Estimate the edge of one start without the shift of a finite horizon, and decide what kind it is.

    Soft, hard and the start's own basin belong to a problem and a start. Where the runs below the edge come to rest the
    step is linearised: the step size at which that place loses its stability is the edge where the runs' own bracket
    allows it, and else the start leaves its basin, or jumps.

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
    criterion
        "converged", "stable" or "bounded": what the bracket is about.
    last
        Step size beyond which the start never succeeded, where that is not `upper`: its answers alternate.

    Returns
    -------
    Estimate
        With `repeat` 0. Cost: at most some 15 rounds of 16 runs over the horizon, mostly a third of that.

    Notes
    -----
    Assumes that a step does not depend on how many came before it, and float64 throughout; `unsuited` checks both
    where it can be seen beforehand.
    """
    start = Start(probe, key, Sides(criterion, tolerance), lower, upper, upper, last)
    kind, method, found, reason = choose(start)
    if kind is not EstimateKind.NONE and start.last:
        reason += f"; the first of its crossings, since it succeeds again up to {start.last:.6g}"
    return Estimate(found.value, found.error, kind, method, reason, 0, probe.num_runs, probe.num_gradients)


def estimate_of(run: Sweep, keys: chex.PRNGKey, edge: Edge, along: Along | None = None) -> Estimate:
    """Estimate the edge of the start that goes on meeting the criterion the longest before it first fails.

    Parameters
    ----------
    run
        The sweep that found the edge.
    keys
        Typed random keys [R], one a start.
    edge
        Its brackets and answers.
    along
        The axis, where it is a line through several hyperparameters.

    Returns
    -------
    Estimate
        Of the criterion that the edge is about, or none. Where nothing ever converges, that of a loss that is quadratic
        all the way, which needs no run that does.
    """
    if edge.criterion not in ANSWERABLE:
        return no_estimate(
            f'the criterion "{edge.criterion}" is about a finite run, so an endless one has no edge of it'
        )
    repeat, bracket, last = _longest(edge.step_sizes, edge.answers)
    needs_success = True
    if math.isnan(bracket.lower) and edge.criterion == "converged" and edge.runs is not None:
        # No run may come to rest within the horizon, and the edge be there all the same.
        repeat, bracket, last = _longest(edge.step_sizes, np.asarray(answers(edge.runs, "stable", edge.tolerance)))
        needs_success = False
    if math.isnan(bracket.lower):
        return no_estimate(f"no start fails above step sizes at which it succeeds: {edge.status.value}")
    why_not = unsuited(run.problem, run.family, hyperparams_at(along, bracket.lower), keys[repeat])
    if why_not:
        return no_estimate(why_not)._replace(repeat=repeat)
    probe = _probe_of(run).anew(along)
    if not needs_success and not is_affine(probe, keys[repeat], bracket.lower):
        return no_estimate(f"no start fails above step sizes at which it succeeds: {edge.status.value}")
    found = estimate_edge(probe, keys[repeat], *bracket, edge.tolerance, edge.criterion, last)
    return found._replace(repeat=repeat)


def _probe_of(run):
    """The one that was compiled for this sweep, for any number of lines through its hyperparameters."""
    if run not in _probes:
        num_steps = min(run.num_steps, MAX_STEPS)
        _probes[run] = Probe(
            run.problem, run.family, num_steps, tail=min(run.tail, num_steps), blow_up_factor=run.blow_up_factor
        )
    return _probes[run]


def _longest(step_sizes, found):
    """Index of the start that lasts longest before it first fails, its first crossing, and where alternation ends."""
    brackets = [_first_crossing(step_sizes, column) for column in found.T]
    repeat = int(np.argmax([-math.inf if math.isnan(pair.lower) else pair.lower for pair in brackets]))
    above = np.flatnonzero((found[:, repeat] == Answer.MET) & (step_sizes > brackets[repeat].upper))
    last = float(step_sizes[min(above[-1] + 1, len(step_sizes) - 1)]) if above.size else 0.0
    return repeat, brackets[repeat], last


def _first_crossing(step_sizes, found):
    """One start's last success before its first failure above a success, and that failure.

    Beyond it islands may follow where the start succeeds again, by way of another minimum or a saddle.
    """
    met = np.flatnonzero(found == Answer.MET)
    failed = np.flatnonzero((found == Answer.FAILED) & (np.arange(found.size) > (met[0] if met.size else found.size)))
    if failed.size == 0:
        return Bracket(math.nan, math.nan)
    return Bracket(float(step_sizes[met[met < failed[0]][-1]]), float(step_sizes[failed[0]]))


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


AGE = 10_000
"""Updates by which an optimizer is made older, to see whether it minds."""


def unsuited(problem: Problem | Callable[[Any], Problem], family: Family, hyperparams: Any, key: Any) -> str:
    """Say why no estimator can apply, before anything is run.

    Parameters
    ----------
    problem, family
        As in `sweep`.
    hyperparams
        A step size, or a pytree; any valid ones.
    key
        One typed key.

    Returns
    -------
    str
        Empty where nothing speaks against it.
    """
    hyperparams = jax.tree.map(jnp.asarray, hyperparams)
    here = resolve_problem(problem, hyperparams)
    if here.batches is not None:
        return "with mini-batches the gradient norm neither vanishes below an edge nor settles above it"
    params = jax.eval_shape(lambda key: here.init(key)[0], key)
    state = jax.eval_shape(lambda key: transformation_of(family, hyperparams).init(here.init(key)[0]), key)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
        return "an optimizer that draws random numbers has no orbit that comes to rest or to a cycle"
    narrow = [leaf.dtype for leaf in jax.tree.leaves((params, hyperparams)) if leaf.dtype != np.float64]
    if not narrow:
        return ""
    if _minds_its_age(lambda _: transformation_of(family, hyperparams), params):
        return (
            "below float64 rounding hides the edge, and so do a schedule and a bias correction, in float64 too, for as "
            "long as they last"
        )
    if jnp.result_type(float) == np.float64:
        return f"below float64 rounding hides the edge; make the parameters float64, which now are {narrow[0]}"
    return 'below float64 rounding hides the edge; call jax.config.update("jax_enable_x64", True)'


def _minds_its_age(family, params):
    """Whether an optimizer's update depends on how many came before it, seen on a few numbers in the parameters' place.

    Where that cannot be seen, as of a line search, the answer is no.
    """
    try:
        with jax.enable_x64(True):
            stand_in = stand_in_for(family, params)
            transformation = family(1.0)
            rising = survey(transformation, stand_in).rising
            start = jax.tree.map(jnp.asarray, transformation.init(stand_in))
            leaves, structure = jax.tree.flatten(start)
            pairs = zip(leaves, rising, strict=True)
            aged = structure.unflatten([leaf + jnp.asarray(AGE, leaf.dtype) if up else leaf for leaf, up in pairs])
            gradient = jax.tree.map(jnp.ones_like, stand_in)

            def step(state, _):
                updates, state = update_of(transformation)(gradient, state, stand_in)
                return state, updates

            # Accumulated gradients show in an update now and then.
            updates = jax.jit(lambda state: jax.lax.scan(step, state, length=MAX_PERIOD)[1])
            young, old = (jax.tree.leaves(updates(state)) for state in (start, aged))
    except Exception:
        return False
    return not all(np.allclose(one, other, rtol=1e-5, atol=0) for one, other in zip(young, old, strict=True))
