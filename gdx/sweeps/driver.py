"""`sweep`: any number of runs through one compiled program of fixed size."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.checks import check_count, check_number, check_process, own_rules
from gdx.observers import Observer
from gdx.problems.base import Problem
from gdx.progress import Progress, shows_progress
from gdx.stepping import Family
from gdx.sweeps.building import Built, Choices, build
from gdx.sweeps.inputs import check_horizon, check_hyperparams, check_keys, check_stopping, check_total
from gdx.sweeps.runs import Runs, Stopping
from gdx.sweeps.state import BLOW_UP_FACTOR, TAIL, Queue
from gdx.sweeps.streaming import Grid, Program, compile_segment, default_workers, for_workers, stream
from gdx.sweeps.watching import check_observers, suited_stopping
from gdx.trees import rows

if TYPE_CHECKING:
    import chex

FACTS = ("gradient", "cycles")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with all that had been measured.

    Attributes
    ----------
    runs : Runs
        What had been finished, the rest with `Stop.UNFINISHED`.
    step_sizes : array or pytree
        Where: the step sizes [S], or the hyperparameters of the sweep.
    edge : Edge or None
        What can be read off them so far, where an edge was looked for.

    Examples
    --------
    >>> import gdx
    >>> try:
    ...     raise gdx.Interrupted(None)  # a sweep raises it on Ctrl-C, with its Runs
    ... except gdx.Interrupted as interrupted:
    ...     isinstance(interrupted, KeyboardInterrupt), interrupted.runs
    (True, None)
    """

    def __init__(self, runs: Runs, step_sizes: Any = None, edge: Any = None):
        super().__init__("the sweep was interrupted")
        self.runs, self.step_sizes, self.edge = runs, step_sizes, edge


class Sweep:
    """A sweep that is compiled on its first call and then takes any number of runs.

    Attributes
    ----------
    num_steps, tolerance, tail, blow_up_factor
        As given to `sweep`.
    choices : Choices
        All that was given.
    slots : int or None
        Lanes computed at once by a worker, B; None until the first call.
    workers : int
        Threads, each with a copy of the compiled program, that share the lanes.
    compile_seconds : float
        Time spent compiling so far.
    step_bytes : int or None
        Bytes of all that one step of one run computes; None until the first check or call.

    Examples
    --------
    Continues the example of `gdx`.

    >>> isinstance(run, gdx.Sweep), run.num_steps, run.compile_seconds > 0
    (True, 1000, True)
    """

    def __init__(self, problem: Any, family: Family, choices: Choices, slots: int | None, workers: int | None):
        self.problem, self.family, self.choices = problem, family, choices
        self.num_steps, self.tail = choices.num_steps, choices.tail
        self.tolerance, self.blow_up_factor = choices.tolerance, choices.blow_up_factor
        self.slots, self.workers = slots, workers or default_workers()
        self.compile_seconds = 0.0
        self.step_bytes: int | None = None
        self._built: dict[Any, Built] = {}
        self._programs: dict[Any, Program] = {}

    @shows_progress("runs")
    def __call__(
        self,
        hyperparams: chex.ArrayTree,
        keys: chex.PRNGKey,
        *,
        progress: Progress = None,
    ) -> Runs:
        """Run every combination of hyperparameters and keys.

        Parameters
        ----------
        hyperparams
            Step sizes [S], or a pytree of arrays [S].
        keys
            Typed random keys [R] of any kind, or legacy ones [R, 2]; runs with one key start alike and see the same
            batches.
        progress
            Called as `progress(finished, total)` a few times a second; by default a bar on stderr, where that is a
            terminal and the call takes longer than two seconds; False for nothing. Not inside a trace.

        Returns
        -------
        Runs
            Leaves [S, R]: NumPy arrays, or tracers where the call stands inside a trace of the caller's, which
            then holds the whole sweep as one loop, without progress.

        Raises
        ------
        ValueError
            If an argument is out of range, or the problem or the family cannot be run.
        Interrupted
            On Ctrl-C, with what was finished.
        """
        with own_rules():
            hyperparams, keys, num_points, num_repeats = self.check(hyperparams, keys)
            built = self._built[_signature(hyperparams, keys)]
            if built.is_traced or _is_traced((hyperparams, keys)):
                return _run_traced(built.engine, hyperparams, keys, num_points, num_repeats)
            grid = Grid(hyperparams, keys, num_points)
            program = self._program(hyperparams, keys, grid)

            facts, is_whole = stream(program, grid, progress)
            runs = _on_axes(facts, grid.hyperparams, num_points, num_repeats, np)
            if not is_whole:
                raise Interrupted(runs, grid.hyperparams)
            return runs

    def check(self, hyperparams: chex.ArrayTree, keys: chex.PRNGKey) -> tuple[Any, jax.Array, int, int]:
        """Refuse what a call would refuse, without compiling anything.

        Parameters
        ----------
        hyperparams, keys
            As for a call.

        Returns
        -------
        hyperparams, keys, S, R

        Raises
        ------
        ValueError
            As a call.
        """
        with own_rules():
            keys = check_keys(keys)
            hyperparams, num_points = check_hyperparams(hyperparams)
            self._engine(hyperparams, keys)
            check_total(num_points, keys.shape[0], self._built[_signature(hyperparams, keys)].bytes_per_run)
        return hyperparams, keys, num_points, keys.shape[0]

    def _engine(self, hyperparams, keys):
        signature = _signature(hyperparams, keys)
        if signature not in self._built:
            built = build(self.problem, self.family, self.choices, self.slots, (hyperparams, keys))
            self._built[signature], self.slots, self.step_bytes = built, built.slots, built.step_bytes
        return self._built[signature].engine

    def _program(self, hyperparams, keys, grid):
        """The compiled program, with a copy for every worker that has something to do."""
        signature, started = _signature(hyperparams, keys), time.perf_counter()
        program = self._programs.get(signature)
        if program is None:
            program = compile_segment(self._engine(hyperparams, keys), grid.any_window(), self.slots or 1)
        useful = 1 if self._built[signature].is_split else min(self.workers, -(-grid.total // program.num_slots))
        if program.can_be_copied and len(program.segments) < useful:
            program = for_workers(program, useful)
        if program is not self._programs.get(signature):
            self._programs[signature] = program
            self.compile_seconds += time.perf_counter() - started
        return program._replace(segments=program.segments[:useful])


def sweep(
    problem: Problem | Callable[[Any], Problem],
    family: Family,
    *,
    num_steps: int,
    tail: int = TAIL,
    tolerance: float = 1e-6,
    stopping: Stopping | None = None,
    blow_up_factor: float = BLOW_UP_FACTOR,
    facts: Collection[str] = FACTS,
    observers: Mapping[str, Observer] | None = None,
    evaluate_every: int | None = None,
    slots: int | None = None,
    workers: int | None = None,
    num_runs: int | None = None,
) -> Sweep:
    """Prepare to run one optimizer family from many starts at many hyperparameters.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`, so that a start or an initial scale can be an axis too.
    family
        `hyperparams -> optax transformation`: `optax.sgd`, `functools.partial(optax.adam, b1=0.8)`, your own.
        Called inside the trace, with a scalar step size or a pytree of scalars.
    num_steps
        The horizon T, steps.
    tail
        The window W at the end of a run that verdicts are about, steps; shortened to the horizon. Cycles are looked for
        in it; whether a run has come to rest is held against the whole second half of the horizon, and whether it
        trains is judged by its last tenth.
    tolerance
        A run has converged when its gradient norm is at most this times the first one over a whole tail. Gradients of
        parameters that the optimizer provably never moves do not count.
    stopping
        Which rules may end a run early; by default those that cannot mistake a pause for the end, see `Stopping`.
    blow_up_factor
        A run has blown up when its loss is further above the first loss than this times max(|first loss|, 1), or has
        fallen that far below zero; any other fall is none.
    facts
        Which facts to keep beside the loss: "gradient" (norms, and with them convergence) and "cycles" (periods and
        exact repetition). Leaving one out leaves its fields at NaN or 0, and runs that it would tell apart undecided.
    observers
        Watchers of your own by name; their summaries land in `Runs.observed`.
    evaluate_every
        Steps between evaluations of the problem's `full_loss` in the tail, where it has one; by default an eighth of
        the tail.
    slots
        Lanes computed at once by a worker, B; by default a fixed rule from the work of one step. On a CPU it gives one
        where the step convolves: filters side by side are a convolution of many groups, which takes ten times as long.
        Matrices that are factorized in a step stay few enough for one thread on versions of jaxlib that would share
        them among threads and may wait for ever.
    workers
        Threads that share the lanes, each with a copy of the compiled program; by default one a core of a CPU, and one
        elsewhere. No bit depends on their number. Inside a trace of the caller's there is one.
    num_runs
        How many runs a call will be of, about, where that is known to be few: the rule then gives no more slots.

    Returns
    -------
    Sweep
        A callable `run(hyperparams, keys) -> Runs`. It compiles on its first call and never again for other
        values or lengths. Memory is that of B runs a worker, plus the facts of all.

    Raises
    ------
    ValueError
        If an argument is out of range; on the first call, if the problem or the family cannot be run.

    Notes
    -----
    A lane's bits depend on B, the JAX version, the kind of device and the number of cores. They do not depend on
    its neighbours (one that blows up cannot touch another), its position, the order of the lanes, how many there
    are, the number of workers, or how the sweep is cut into segments; this holds for B a power of two, as the rule
    chooses it.

    Ctrl-C is heard between segments of about 0.1 s, or one block of at least `tail` steps if that takes longer.

    Examples
    --------
    Continues the example of `gdx`; nothing is compiled for other numbers.

    >>> gdx.converged(run(jnp.geomspace(0.1, 1.0, 5), keys)).sum(axis=1)
    array([2, 2, 2, 0, 0])
    """
    check_process()
    num_steps = check_horizon("num_steps", num_steps)
    tail = check_count("tail", tail, "pass a window in steps")
    if evaluate_every is not None:
        evaluate_every = check_count("evaluate_every", evaluate_every, "pass 1 to evaluate at every step")
    if slots is not None:
        slots = check_count("slots", slots, "leave it out for a fixed rule")
    if workers is not None:
        workers = check_count("workers", workers, "leave it out for one a core")
    if num_runs is not None:
        num_runs = check_count("num_runs", num_runs, "leave it out where it may be any")
    for name, value in {"tolerance": tolerance, "blow_up_factor": blow_up_factor}.items():
        check_number(name, value, 0, np.inf, "the default suits most problems")
    if not isinstance(facts, Collection) or not set(facts) <= set(FACTS):
        raise ValueError(f"facts: {facts!r} are not all known; choose among {FACTS}")
    stopping = Stopping() if stopping is None else stopping
    check_stopping(stopping, facts)
    observers = check_observers(observers)
    stopping = suited_stopping(stopping, observers)
    choices = Choices(
        num_steps=num_steps,
        tail=tail,
        tolerance=float(tolerance),
        blow_up_factor=float(blow_up_factor),
        stopping=stopping,
        gradients="gradient" in facts,
        cycles="cycles" in facts,
        observers=observers,
        evaluate_every=evaluate_every,
        num_runs=num_runs,
    )
    return Sweep(problem, family, choices, slots, workers)


def _run_traced(engine, hyperparams, keys, num_points, num_repeats):
    total = num_points * num_repeats
    lanes = jnp.arange(total, dtype=jnp.int32)
    queue = Queue(
        lane=lanes,
        hyperparams=rows(hyperparams, lanes // num_repeats),
        key=keys[lanes % num_repeats],
        length=jnp.int32(total),
        is_last=jnp.bool_(True),
    )
    slots = engine.fill(queue)
    log = engine.blank_log(slots, total + slots.lane.shape[0])
    forever = jnp.int32(jnp.iinfo(jnp.int32).max)
    _, log, _ = engine.segment(slots, log, jnp.int32(0), queue, forever)
    order = jnp.zeros(total, jnp.int32).at[log.lane[:total]].set(lanes)
    return _on_axes(rows(log.facts, order), hyperparams, num_points, num_repeats, jnp)


def _on_axes(facts, hyperparams, num_points, num_repeats, xp):
    """Facts of all lanes, [N], as those of points and repeats, [S, R], beside what they were run at."""
    runs = jax.tree.map(lambda leaf: leaf.reshape(num_points, num_repeats, *leaf.shape[1:]), facts)
    return runs._replace(hyperparams=jax.tree.map(lambda leaf: xp.repeat(leaf[:, None], num_repeats, 1), hyperparams))


def _signature(hyperparams, keys):
    leaves, structure = jax.tree.flatten(hyperparams)
    return structure, tuple(leaf.dtype for leaf in leaves), keys.dtype, bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]


def _is_traced(tree):
    """Inside somebody's trace, also where this call's own arguments are concrete."""
    probe = [*jax.tree.leaves(tree), jnp.zeros(()) + 1]
    return any(isinstance(leaf, Tracer) for leaf in probe)
