"""How large the step of one job may be, how close it is, why it blows up, and what would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jax
import numpy as np

from gdx.checks import check_count, check_number, own_rules
from gdx.exploring import Exploration
from gdx.problems import from_batches
from gdx.problems.base import Problem, check_problem
from gdx.progress import shows_progress
from gdx.responses.families import measured_once
from gdx.stepping import Family
from gdx.studies.stability.answering import EDGE, answer_of, without_runs
from gdx.studies.stability.causes import measure_causes
from gdx.studies.stability.changes import Changes, changes_of
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.confirming import MOST_STARTS, NOT_YET, confirm, range_test
from gdx.studies.stability.found import Stability
from gdx.studies.stability.plain import RANGE, losses_of
from gdx.studies.stability.scanning import NOTHING, Reading, read, scan
from gdx.studies.stability.unscheduled import unscheduled
from gdx.studies.stability.variants import variants_of
from gdx.studies.stability.watching import margin_of
from gdx.studies.stability.words import advice
from gdx.sweeps.inputs import check_keys

if TYPE_CHECKING:
    import chex

CONFIRM, WATCH = 0.4, 0.6
"""Shares of what is left of the budget after the scan that go into the second road, and of the rest into the margin;
what remains is for causes."""
NUM_STARTS = 3
MOST_LOOKS = 40
"""Steps at which a schedule is read."""


class _Job(NamedTuple):
    """What is asked about, and what has been run of it."""

    problem: Problem
    family: Family
    keys: Any
    step_size: float | None
    num_steps: int
    changes: Changes
    explored: Exploration
    found: Reading
    guess: float


@own_rules()
@measured_once()
@shows_progress()
def stability(
    problem: Problem | Callable[..., Any],
    family: Family,
    *,
    params: Any = None,
    batches: Any = None,
    step_size: float | None = None,
    keys: chex.PRNGKey | None = None,
    num_steps: int = 400,
    budget: float = 60.0,
    progress: Any = None,
) -> Stability:
    """Say how large the step of a training job may be, how close it is, why it blows up and what would help.

    Parameters
    ----------
    problem
        A Problem; or `loss(params, batch) -> scalar`, with `params` and `batches`.
    family
        `step_size -> optax transformation`, with all that the job has: clipping, masks, decay, and a schedule as
        `lambda h: optax.adam(lambda count: h * unit(count))`.
    params, batches
        Beside a loss: parameters, or a function `key -> params`, and an iterable of batches, as
        `gdx.problems.from_batches` takes them.
    step_size
        The present one, if there is one.
    keys
        Typed random keys [R], one a start and order of batches; three by default.
    num_steps
        The horizon T, steps: a part of the job that is long enough to learn something.
    budget
        Seconds that all of it may take, about: nothing ends a compilation that has begun. What there is no time for is
        left out, and said to be.
    progress
        Called as `progress(stage, finished, total)`; by default a bar, as in `Sweep.__call__`, False for none.

    Returns
    -------
    Stability
        `print` it. After Ctrl-C with whatever was found, and `interrupted` set.

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem or the family cannot be run.

    Notes
    -----
    A run trains where the mean loss of its last tenth is nearer to the best of the scan than to what a run that learns
    nothing reaches, see `gdx.trains`. All step sizes are runs of one sweep, begun around the threshold over the
    curvature of one batch and grown outwards; those around the edge are made again in a plain jitted optax loop, and
    where that one says otherwise there is no number. Causes are not asserted: every one of them is the same sweep with
    one thing changed, held against a control beside it.

    `gdx stability my_module:problem --step-size 0.03` asks the same on the command line; `gdx.plots.stability(found)`
    draws the answer, with loss against step size as a learning-rate finder shows it.

    Examples
    --------
    >>> import optax, gdx
    >>> digits = gdx.problems.logistic_regression("digits", batch_size=64)
    >>> found = gdx.stability(digits, optax.adam, step_size=0.03, num_steps=100, budget=60.0)
    >>> found.verdict.name, 1 < found.headroom < 100
    ('SAFE', True)
    """
    num_steps = check_count("num_steps", num_steps, "pass the horizon in steps")
    check_number("budget", budget, 0, math.inf, "pass seconds")
    if step_size is not None:
        step_size = check_number("step_size", step_size, 0, math.inf, "pass the present step size, or leave it out")
    problem = _checked_problem(problem, params, batches)
    keys = check_keys(jax.random.split(jax.random.key(0), NUM_STARTS) if keys is None else keys)
    check_problem(problem, keys[0])
    clock = Clock(budget)
    changes = changes_of(family, jax.eval_shape(problem.init, keys[0])[0], num_steps)
    own = [] if step_size is None else [step_size, EDGE * step_size]
    explored, guess = scan(problem, changes.family, changes.along(), keys, num_steps, clock, progress, own)
    if explored is None:
        return without_runs(step_size, guess, num_steps, clock.seconds, interrupted=clock.was_stopped)
    job = _Job(problem, family, keys, step_size, num_steps, changes, explored, read(explored), guess)
    answer = answer_of(explored, job.found, NOT_YET, step_size, num_steps)
    try:
        if not clock.was_stopped:
            for so_far in _stages(job, answer, clock, progress):
                answer = so_far
    except KeyboardInterrupt:
        clock.stop()
    answer = answer._replace(advice=advice(answer), interrupted=clock.was_stopped)
    return answer._replace(seconds=clock.seconds)


def _stages(job: _Job, answer: Stability, clock: Clock, progress: Any) -> Iterator[Stability]:
    """From the second road to what would help: after each the answer so far."""
    problem, family, keys, found = job.problem, job.family, job.keys, job.found
    run, is_cut = job.explored.run, clock.is_over
    clock.spend(CONFIRM)
    train = losses_of(problem, family, run.num_steps)
    confirmed = confirm(train, keys, found, clock)
    if is_cut:
        confirmed = _of_a_part(confirmed)
    if _is_without_effect(found):
        note = "the loss is the same at every step size: the family makes nothing of the one that it is given"
        confirmed = confirmed._replace(largest_step=NOTHING, trust=confirmed.trust._replace(note=note))
    answer = answer_of(job.explored, found, confirmed, job.step_size, job.num_steps)
    yield answer
    test, num_trainings = range_test(_range_train(job, train), keys), min(keys.shape[0], MOST_STARTS)
    answer = answer._replace(range_test=test, num_trainings=answer.num_trainings + num_trainings)
    yield answer
    clock.spend(WATCH)
    # To compile it takes about as long as the sweep did.
    if clock.left > run.compile_seconds:
        watched = job.step_size or (float(found.step_sizes[found.best]) if found.best >= 0 else job.guess)
        margin = margin_of(problem, family, watched, keys[0], run.num_steps, job.changes.groups)
        answer = answer._replace(margin=margin, num_trainings=answer.num_trainings + 1)
        yield answer
    clock.spend(1.0)
    edge = confirmed.largest_step.lower
    if math.isfinite(edge):
        others = variants_of(problem, keys[0])
        changes = job.changes.within(run.num_steps)
        causes, made = measure_causes(run, keys, changes, others, edge, found, job.step_size, clock, progress)
        yield answer._replace(causes=causes, num_trainings=answer.num_trainings + made)


def _range_train(job, train):
    """A plain loop that is long enough for a range test; schedules stand still, as finders have it."""
    steps = np.arange(0, job.num_steps, max(job.num_steps // MOST_LOOKS, 1))
    try:
        still, _ = unscheduled(job.family, jax.eval_shape(job.problem.init, job.keys[0])[0], steps)
    except ValueError:
        still = job.family
    num_steps = job.explored.run.num_steps
    if still is job.family and num_steps >= RANGE[2]:
        return train
    return losses_of(job.problem, still, RANGE[2])


def _of_a_part(confirmed):
    """What is left of an answer where the budget ended before the scan did."""
    if not math.isfinite(confirmed.largest_step.upper):
        note = "the budget ended before the scan had seen on which side of the edge it is, so there is no number"
        return confirmed._replace(largest_step=NOTHING, trust=confirmed.trust._replace(note=note))
    note = "; ".join(filter(None, [confirmed.trust.note, "the budget ended before the scan did"]))
    return confirmed._replace(trust=confirmed.trust._replace(note=note))


def _is_without_effect(found):
    """Whether runs over decades of step sizes all end alike."""
    return found.step_sizes.size > 2 and bool(np.all(found.losses == found.losses[0]))


def _checked_problem(problem: Any, params: Any, batches: Any) -> Problem:
    if isinstance(problem, Problem):
        if params is not None or batches is not None:
            raise ValueError("params, batches: a Problem has its own; pass them beside a loss alone")
        return problem
    if not callable(problem) or params is None or batches is None:
        raise ValueError(
            f"problem: {type(problem).__name__} is no gdx.Problem; make one with gdx.problem(init, loss), or pass a "
            "loss with params and batches"
        )
    return from_batches(cast("Any", problem), params, batches)
