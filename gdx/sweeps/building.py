"""From what a caller chose to an engine: everything is checked by shape alone, and nothing is compiled yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax.core import Tracer

from gdx.observers import Observer, search_failures
from gdx.problems.base import check_problem
from gdx.rewriting import holds_convolution
from gdx.stepping import (
    Family,
    TrainState,
    View,
    evaluation,
    frozen_params,
    resolve_problem,
    told_by,
    train_step,
    transformation_of,
)
from gdx.stepping.keys import shares_draws
from gdx.sweeps.inputs import check_family
from gdx.sweeps.lanes import Engine, make_engine
from gdx.sweeps.runs import Runs, Stopping
from gdx.sweeps.sizing import (
    LIGHT_BYTES,
    Factorization,
    choose_blocks,
    choose_slots,
    factorizations,
    is_split,
    work_bytes,
)
from gdx.sweeps.state import SEARCH_FAILURES, Settings
from gdx.sweeps.training import make_start
from gdx.sweeps.watching import check_watching

EVALUATIONS = 8
"""Of the full loss in a tail, where it is not the training loss and nobody says otherwise."""


class Choices(NamedTuple):
    """What a caller chose of a sweep; None for what a rule decides."""

    num_steps: int
    tail: int
    tolerance: float
    blow_up_factor: float
    stopping: Stopping
    gradients: bool
    cycles: bool
    observers: Mapping[str, Observer]
    evaluate_every: int | None
    num_runs: int | None


class Built(NamedTuple):
    """What stands for hyperparameters and keys of one kind."""

    engine: Engine
    slots: int
    step_bytes: int
    """Of all that one step of one run computes."""
    bytes_per_run: int
    """Of results."""
    is_traced: bool
    """Whether the problem or the family closes over what somebody is tracing."""
    is_split: bool
    """Whether a step shares its matrices among all threads and waits for them, so that two steps at once may never
    end."""


class _Step(NamedTuple):
    """What is known of one step of one run before anything is compiled."""

    update: Callable[[TrainState], tuple[TrainState, View]]
    """As in a `TrainStep`."""
    step_bytes: int
    convolves: bool
    calls: list[Factorization]
    is_apart: bool
    """Whether verdicts are about another loss than the one that is trained on."""
    frozen: Any
    observers: Mapping[str, Observer]
    """The caller's, and gdx's own."""
    summary_bytes: int
    is_traced: bool


def build(problem: Any, family: Family, choices: Choices, slots: int | None, like: tuple[Any, Any]) -> Built:
    """Size and build the engine of a sweep.

    Parameters
    ----------
    problem, family, choices
        As given to `sweep`.
    slots
        B; None for the rule.
    like
        Hyperparameters, leaves [S], and typed keys [R], whose kinds count alone.

    Returns
    -------
    Built

    Raises
    ------
    ValueError
        If the problem or the family cannot be run.
    """
    hyperparams, keys = like
    point = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((), leaf.dtype), hyperparams)
    key = jax.ShapeDtypeStruct((), keys.dtype)
    step = _looked_at(problem, family, choices, point, key)
    backend = jax.default_backend()
    if slots is None:
        slots = choose_slots(step.step_bytes, backend, choices.num_runs, convolves=step.convolves, calls=step.calls)
    blocks = choose_blocks(
        choices.num_steps,
        choices.tail,
        spares_watching=step.step_bytes < LIGHT_BYTES or step.is_apart,
        watches_all=choices.stopping.is_stated,
    )
    evaluate_every = choices.evaluate_every or max(choices.tail // EVALUATIONS, 1)
    settings = Settings(
        blocks=blocks,
        slots=slots,
        tolerance=choices.tolerance,
        blow_up_factor=choices.blow_up_factor,
        stopping=choices.stopping,
        gradients=choices.gradients,
        cycles=choices.cycles,
        evaluate_every=evaluate_every if step.is_apart else 1,
        is_apart=step.is_apart,
        observers=step.observers,
        frozen=step.frozen,
    )
    evaluate = evaluation(problem, step.frozen)
    # Only drawing the orders of epochs ahead knows how long a block is: what has been traced of an update serves again.
    whole = train_step(problem, family, block=blocks.coast + blocks.watch)._replace(update=step.update)
    engine = make_engine(
        whole,
        evaluate,
        jax.jit(make_start(problem, evaluate, settings)),
        settings,
    )
    # None of a run's own facts is wider than a float64.
    bytes_per_run = 8 * len(Runs._fields) + step.summary_bytes
    return Built(
        engine, slots, step.step_bytes, bytes_per_run, step.is_traced, backend == "cpu" and is_split(step.calls, slots)
    )


def _looked_at(problem, family, choices, point, key):
    """Check one step, and learn of it what sizes and settings depend on."""
    check_family(family, point)

    def check(hyperparams, key):
        here = resolve_problem(problem, hyperparams)
        transformation_of(family, hyperparams)
        check_problem(here, key)
        return here.full_loss is not None

    is_apart = told_by(check, point, key)
    # Models are written in Python, and to trace one takes long: JAX keeps what it has traced of a jitted function. Here
    # and not in the step itself, since a sweep is compiled once, whatever becomes of what its problem reads.
    step = train_step(problem, family, block=choices.tail)
    step = step._replace(update=jax.jit(step.update))
    begin, state = jax.make_jaxpr(step.init, return_shape=True)(point, key)
    program, (_, view) = jax.make_jaxpr(step.update, return_shape=True)(state)
    if shares_draws(program.jaxpr):
        raise ValueError(
            "keys: a step draws random numbers with keys of the kind rbg, which runs side by side would share; "
            "draw them with jax.random.key(0, impl='threefry2x32')"
        )
    own = {} if view.search_failed is None else {SEARCH_FAILURES: search_failures}
    return _Step(
        update=step.update,
        step_bytes=work_bytes(program.jaxpr),
        convolves=holds_convolution(program),
        calls=factorizations(program.jaxpr),
        is_apart=is_apart,
        frozen=frozen_params(problem, family, state),
        observers={**choices.observers, **own},
        summary_bytes=check_watching(choices.observers, state, view, choices.num_steps),
        is_traced=any(isinstance(const, Tracer) for const in (*begin.consts, *program.consts)),
    )
