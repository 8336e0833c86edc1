"""`sweep`: any number of runs through one compiled program of fixed size."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.checks import check_number, check_process, own_rules
from gdx.observers import Observer, search_failures
from gdx.problems.base import Problem, check_problem
from gdx.stepping import Family, evaluation, frozen_params, resolve_problem, train_step, transformation_of
from gdx.stepping.keys import shares_draws
from gdx.sweeps.inputs import (
    check_count,
    check_family,
    check_horizon,
    check_hyperparams,
    check_keys,
    check_stopping,
    check_total,
)
from gdx.sweeps.lanes import make_engine
from gdx.sweeps.runs import Runs, Stopping
from gdx.sweeps.sizing import LIGHT_BYTES, choose_blocks, choose_slots, work_bytes
from gdx.sweeps.state import SEARCH_FAILURES, Queue, Settings
from gdx.sweeps.training import make_start
from gdx.sweeps.watching import check_observers, check_watching

if TYPE_CHECKING:
    import chex

FACTS = ("gradient", "cycles")
EVALUATIONS = 8
"""Of the full loss in a tail, where it is not the training loss and nobody says otherwise."""
SEGMENT_SECONDS = 0.1
MAX_BLOCKS = 1 << 20
"""Most blocks a segment is asked for: where queue or log end it early, its time says nothing of its length."""
QUEUE_ROWS = 4096
LOG_ROWS = 4096


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
    """

    def __init__(self, runs: Runs, step_sizes: Any = None, edge: Any = None):
        super().__init__("the sweep was interrupted")
        self.runs, self.step_sizes, self.edge = runs, step_sizes, edge


class Sweep:
    """A sweep that is compiled on its first call and then takes any number of runs.

    Attributes
    ----------
    num_steps, tolerance, tail
        As given to `sweep`.
    slots : int or None
        Lanes computed at once, B; None until the first call.
    compile_seconds : float
        Time spent compiling so far.
    step_bytes : int or None
        Bytes of all that one step of one run computes; None until the first check or call.
    """

    def __init__(self, problem: Any, family: Family, num_steps: int, tail: int, options: dict[str, Any]):
        self.problem, self.family = problem, family
        self.num_steps, self.tail, self.tolerance = num_steps, tail, options["tolerance"]
        self.slots: int | None = options.pop("slots")
        self.compile_seconds = 0.0
        self.step_bytes: int | None = None
        self._options = options
        self._programs: dict[Any, Any] = {}

    def __call__(
        self,
        hyperparams: chex.ArrayTree,
        keys: chex.PRNGKey,
        *,
        progress: Callable[[int, int], None] | None = None,
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
            Called as `progress(finished, total)` a few times a second; not inside a trace.

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
            engine = self._engine(hyperparams, keys)
            if _is_traced((hyperparams, keys)):
                return _run_traced(engine, hyperparams, keys, num_points, num_repeats)
            key_data = np.asarray(jax.random.key_data(keys))
            grid = _Grid(jax.tree.map(np.asarray, hyperparams), key_data, jax.random.key_impl(keys), num_repeats)
            flat = self._stream(engine, grid, num_points * num_repeats, progress)
            return jax.tree.map(lambda leaf: leaf.reshape(num_points, num_repeats, *leaf.shape[1:]), flat)

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
            _, bytes_per_run, _ = self._engine(hyperparams, keys)
            check_total(num_points, keys.shape[0], bytes_per_run)
        return hyperparams, keys, num_points, keys.shape[0]

    def _engine(self, hyperparams, keys):
        signature = _signature(hyperparams, keys)
        if signature not in self._programs:
            self._programs[signature] = (*self._build(hyperparams, keys), {})
        return self._programs[signature]

    def _build(self, hyperparams, keys):
        """Check everything by shape alone, then size and build the engine; nothing is compiled yet."""
        point = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((), leaf.dtype), hyperparams)
        key = jax.ShapeDtypeStruct((), keys.dtype)
        check_family(self.family, point)

        def check(hyperparams, key):
            here = resolve_problem(self.problem, hyperparams)
            transformation_of(self.family, hyperparams)
            check_problem(here, key)
            apart.append(here.full_loss is not None)
            return 0

        apart: list[bool] = []
        jax.eval_shape(check, point, key)
        step = train_step(self.problem, self.family, block=self.tail)
        state = jax.eval_shape(step.init, point, key)
        program, (_, view) = jax.make_jaxpr(step.update, return_shape=True)(state)
        if shares_draws(program.jaxpr):
            raise ValueError(
                "keys: a step draws random numbers with keys of the kind rbg, which runs side by side would share; "
                "draw them with jax.random.key(0, impl='threefry2x32')"
            )
        self.step_bytes = size = work_bytes(program.jaxpr)
        searches = view.search_failed is not None
        summary_bytes = check_watching(self._options["observers"], state.params, view)
        frozen = frozen_params(self.problem, self.family, state)
        if self.slots is None:
            self.slots = choose_slots(size, jax.default_backend())
        blocks = choose_blocks(
            self.num_steps,
            self.tail,
            spares_watching=size < LIGHT_BYTES or apart[0],
            watches_all=self._options["stopping"].is_stated,
        )
        options = dict(self._options)
        if not apart[0]:
            options["evaluate_every"] = 1
        elif options["evaluate_every"] is None:
            options["evaluate_every"] = max(self.tail // EVALUATIONS, 1)
        if searches:
            options["observers"] = options["observers"] | {SEARCH_FAILURES: search_failures}
        settings = Settings(blocks=blocks, slots=self.slots, is_apart=apart[0], frozen=frozen, **options)
        step = train_step(self.problem, self.family, block=blocks.coast + blocks.watch)
        engine = make_engine(step, evaluation(self.problem, frozen), make_start(self.problem, settings), settings)
        # None of a run's own facts is wider than a float64.
        return engine, 8 * len(Runs._fields) + summary_bytes

    def _stream(self, program, grid, total, progress):
        engine, _, compiled = program
        queue = grid.queue(0, total)
        if "segment" not in compiled:
            started = time.perf_counter()
            slots, log = jax.jit(lambda queue: _blank(engine, queue))(queue)
            segment = jax.jit(engine.segment, donate_argnums=(0, 1))
            next_row, blocks = np.int32(0), np.int32(1)
            compiled["segment"] = segment.lower(slots, log, next_row, queue, blocks).compile()
            compiled["blank"] = jax.tree.map(lambda leaf: leaf.copy(), (slots, log))
            self.compile_seconds += time.perf_counter() - started
        segment = compiled["segment"]
        # The program gives its buffers away, so each call starts from a copy.
        slots, log = jax.tree.map(lambda leaf: leaf.copy(), compiled["blank"])
        results = jax.tree.map(lambda leaf: _unfilled(total, leaf), log.facts)
        finished, filled, num_blocks, next_row = 0, int(queue.length), 1, np.int32(0)
        try:
            while finished < total:
                started = time.perf_counter()
                slots, log, next_row = segment(slots, log, next_row, queue, np.int32(num_blocks))
                count = int(log.filled)
                seconds = time.perf_counter() - started
                lanes = np.asarray(log.lane[:count])
                for out, new in zip(jax.tree.leaves(results), jax.tree.leaves(log.facts), strict=True):
                    out[lanes] = np.asarray(new)[:count]
                log = log._replace(filled=jnp.zeros((), jnp.int32))
                finished += count
                if int(next_row) == int(queue.length) and filled < total:
                    queue, next_row = grid.queue(filled, total), np.int32(0)
                    filled += int(queue.length)
                wanted = int(num_blocks * SEGMENT_SECONDS / max(seconds, 1e-4))
                num_blocks = max(1, min(4 * num_blocks, wanted, MAX_BLOCKS))
                if progress is not None:
                    progress(finished, total)
        except KeyboardInterrupt:
            shaped = jax.tree.map(lambda leaf: leaf.reshape(-1, grid.num_repeats, *leaf.shape[1:]), results)
            raise Interrupted(shaped, grid.hyperparams) from None
        return results


def sweep(
    problem: Problem | Callable[[Any], Problem],
    family: Family,
    *,
    num_steps: int,
    tail: int = 64,
    tolerance: float = 1e-6,
    stopping: Stopping | None = None,
    blow_up_factor: float = 1e12,
    facts: Collection[str] = FACTS,
    observers: Mapping[str, Observer] | None = None,
    evaluate_every: int | None = None,
    slots: int | None = None,
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
        Lanes computed at once, B; by default a fixed rule from the work of one step.

    Returns
    -------
    Sweep
        A callable `run(hyperparams, keys) -> Runs`. It compiles on its first call and never again for other
        values or lengths. Memory is that of B runs, plus the facts of all.

    Raises
    ------
    ValueError
        If an argument is out of range; on the first call, if the problem or the family cannot be run.

    Notes
    -----
    A lane's bits depend on B, the JAX version, the kind of device and the number of cores. They do not depend on
    its neighbours (one that blows up cannot touch another), its position, the order of the lanes, how many there
    are, or how the sweep is cut into segments; this holds for B a power of two, as the rule chooses it.

    Ctrl-C is heard between segments of about 0.1 s, or one block of at least `tail` steps if that takes longer.

    Examples
    --------
    >>> run = gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=2_000)
    >>> runs = run(jnp.geomspace(0.1, 1.5, 64), jax.random.split(jax.random.key(0), 8))
    """
    check_process()
    num_steps = check_horizon("num_steps", num_steps)
    tail = check_count("tail", tail, "pass a window in steps")
    if evaluate_every is not None:
        evaluate_every = check_count("evaluate_every", evaluate_every, "pass 1 to evaluate at every step")
    if slots is not None:
        slots = check_count("slots", slots, "leave it out for a fixed rule")
    for name, value in {"tolerance": tolerance, "blow_up_factor": blow_up_factor}.items():
        check_number(name, value, 0, np.inf, "the default suits most problems")
    if not isinstance(facts, Collection) or not set(facts) <= set(FACTS):
        raise ValueError(f"facts: {facts!r} are not all known; choose among {FACTS}")
    stopping = Stopping() if stopping is None else stopping
    check_stopping(stopping, facts)
    options = {
        "slots": slots,
        "tolerance": float(tolerance),
        "blow_up_factor": float(blow_up_factor),
        "stopping": stopping,
        "gradients": "gradient" in facts,
        "cycles": "cycles" in facts,
        "evaluate_every": evaluate_every,
        "observers": check_observers(observers),
    }
    return Sweep(problem, family, num_steps, tail, options)


class _Grid:
    """The whole grid on the host, handed to the device a window at a time; lane = point * R + repeat."""

    def __init__(self, hyperparams, key_data, impl, num_repeats):
        self.hyperparams, self.key_data, self.impl = hyperparams, key_data, impl
        self.num_repeats = num_repeats

    def queue(self, start, total):
        stop = min(start + QUEUE_ROWS, total)
        lanes = np.minimum(np.arange(start, start + QUEUE_ROWS), stop - 1)
        point, repeat = np.divmod(lanes, self.num_repeats)
        return Queue(
            lane=lanes.astype(np.int32),
            hyperparams=jax.tree.map(lambda leaf: leaf[point], self.hyperparams),
            key=jax.random.wrap_key_data(self.key_data[repeat], impl=self.impl),
            length=np.asarray(stop - start, np.int32),
            is_last=np.asarray(stop == total),
        )


def _run_traced(program, hyperparams, keys, num_points, num_repeats):
    engine, _, _ = program
    total = num_points * num_repeats
    lanes = jnp.arange(total, dtype=jnp.int32)
    queue = Queue(
        lane=lanes,
        hyperparams=jax.tree.map(lambda leaf: leaf[lanes // num_repeats], hyperparams),
        key=keys[lanes % num_repeats],
        length=jnp.int32(total),
        is_last=jnp.bool_(True),
    )
    slots = engine.fill(queue)
    log = engine.blank_log(slots, total + slots.lane.shape[0])
    forever = jnp.int32(jnp.iinfo(jnp.int32).max)
    _, log, _ = engine.segment(slots, log, jnp.int32(0), queue, forever)
    order = jnp.zeros(total, jnp.int32).at[log.lane[:total]].set(lanes)
    return jax.tree.map(lambda leaf: leaf[order].reshape(num_points, num_repeats, *leaf.shape[1:]), log.facts)


def _blank(engine, queue):
    slots = engine.fill(queue)
    return slots, engine.blank_log(slots, LOG_ROWS + slots.lane.shape[0])


def _unfilled(total, leaf):
    """Where facts of all runs will stand: NaN or 0 until they are known, and 0 is `Stop.UNFINISHED`."""
    shape = (total, *leaf.shape[1:])
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return np.full(shape, np.nan, leaf.dtype)
    return np.zeros(shape, leaf.dtype)


def _signature(hyperparams, keys):
    leaves, structure = jax.tree.flatten(hyperparams)
    return structure, tuple(leaf.dtype for leaf in leaves), keys.dtype, bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]


def _is_traced(tree):
    """Inside somebody's trace, also where this call's own arguments are concrete."""
    probe = [*jax.tree.leaves(tree), jnp.zeros(()) + 1]
    return any(isinstance(leaf, Tracer) for leaf in probe)
