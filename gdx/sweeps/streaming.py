"""The host's half of a sweep: lanes are handed to workers a window at a time, and their facts gathered.

A worker is a thread with a copy of the compiled program, since a program that is called by two threads makes them wait
for each other. Lanes are independent, so the workers share nothing but the queue and the arrays of results.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import own_rules
from gdx.progress import Progress
from gdx.sweeps.lanes import Engine
from gdx.sweeps.runs import Runs
from gdx.sweeps.state import Log, Queue, Slots
from gdx.trees import rows

if TYPE_CHECKING:
    import chex

SEGMENT_SECONDS = 0.1
MAX_BLOCKS = 1 << 20
"""Most blocks a segment is asked for: where queue or log end it early, its time says nothing of its length."""
QUEUE_ROWS = 4096
LOG_ROWS, LOG_BYTES = 4096, 64 << 20
"""Runs whose facts wait on the device to be fetched, at most, and the room for them: an observer's summary may be as
large as all parameters of many steps."""
SHARES = 2
"""Windows that are cut, for every worker, from what waits: they get smaller towards the end, so that no one waits."""

COPIES_BYTES = 1 << 30
"""Room for copies of a program, each with the data that its loss holds."""

Segment = Any
"""`segment(slots, log, next_row, queue, num_blocks) -> (slots, log, next_row)`, compiled."""


class Program(NamedTuple):
    """The compiled part of a sweep."""

    segments: tuple[Segment, ...]
    """Copies of one executable, one a worker."""
    blank: tuple[Slots, Log]
    """What each begins with."""
    num_slots: int
    can_be_copied: bool = True
    """Not where it calls back into Python, say."""


class Flight(NamedTuple):
    """Where one worker stands: all of it is a value, and `advance_flight` gives the next one."""

    slots: Slots
    log: Log
    queue: Queue
    next_row: Any
    """First row of the queue that no slot has taken yet, int32."""
    num_blocks: int
    """What the next segment is asked for, so that it takes `SEGMENT_SECONDS`."""
    under_way: int
    """Lanes taken from the grid whose facts have not come back."""


class Grid:
    """All lanes on the host, handed out a window at a time; lane = point * R + repeat.

    Attributes
    ----------
    hyperparams : pytree
        Arrays [S].
    total, num_repeats : int
        N and R.
    """

    def __init__(self, hyperparams: Any, keys: chex.PRNGKey, num_points: int):
        self.hyperparams = jax.tree.map(np.asarray, hyperparams)
        self._key_data, self._impl = np.asarray(jax.random.key_data(keys)), jax.random.key_impl(keys)
        self.num_repeats = keys.shape[0]
        self.total = num_points * self.num_repeats
        self._handed_out, self._lock = 0, threading.Lock()

    def take(self, most: int, num_workers: int) -> Queue:
        """Hand out the next window.

        Parameters
        ----------
        most
            Lanes that a worker has room for, B: no fewer are handed out if that many wait.
        num_workers
            Who want some.

        Returns
        -------
        Queue
            Of `QUEUE_ROWS` rows, the first `length` of which count; none where nothing waits.
        """
        with self._lock:
            waiting = self.total - self._handed_out
            share = waiting if num_workers == 1 else max(most, -(-waiting // (SHARES * num_workers)))
            start = self._handed_out
            self._handed_out += min(share, waiting, QUEUE_ROWS)
            return self._window(start, self._handed_out)

    def any_window(self) -> Queue:
        """Show what windows look like, without handing one out.

        Returns
        -------
        Queue
        """
        return self._window(0, min(self.total, QUEUE_ROWS))

    def _window(self, start, stop):
        lanes = np.clip(np.arange(start, start + QUEUE_ROWS), 0, max(stop - 1, 0))
        point, repeat = np.divmod(lanes, self.num_repeats)
        return Queue(
            lane=lanes.astype(np.int32),
            hyperparams=rows(self.hyperparams, point),
            key=jax.random.wrap_key_data(jnp.asarray(self._key_data[repeat]), impl=self._impl),
            length=np.asarray(stop - start, np.int32),
            is_last=np.asarray(stop == self.total),
        )


def default_workers() -> int:
    """Give the number of threads that a sweep uses where nobody says: every core of a CPU that the process may use.

    Returns
    -------
    int
        1 on other devices, which one program fills by itself.
    """
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compile_segment(engine: Engine, queue: Queue, num_slots: int) -> Program:
    """Compile an engine for queues of one shape.

    Parameters
    ----------
    engine
        Of the sweep.
    queue
        Any window.
    num_slots
        B.

    Returns
    -------
    Program
        For one worker.
    """
    slots = engine.fill(queue)
    row_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(engine.blank_log(slots, 1)))
    num_rows = min(LOG_ROWS, max(LOG_BYTES // row_bytes, 1))
    blank = slots, engine.blank_log(slots, num_rows + num_slots)
    segment = jax.jit(engine.segment, donate_argnums=(0, 1))
    compiled = segment.lower(*blank, np.int32(0), queue, np.int32(1)).compile()
    return Program((compiled,), blank, num_slots)


def for_workers(program: Program, number: int) -> Program:
    """Copy the executable until every worker has one.

    Parameters
    ----------
    program
        With at least one.
    number
        Of workers.

    Returns
    -------
    Program
        With one alone where the executable cannot be copied.
    """
    from jax.experimental import serialize_executable

    segments = list(program.segments)
    try:
        packed = serialize_executable.serialize(segments[0])
        most = min(number, 1 + COPIES_BYTES // len(packed[0]))
        while len(segments) < most:
            segments.append(serialize_executable.deserialize_and_load(*packed))
    except (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, pickle.PicklingError):
        # Copying is an optimization, and what cannot be copied runs by itself as well as ever.
        return program._replace(segments=tuple(segments[:1]), can_be_copied=False)
    return program._replace(segments=tuple(segments), can_be_copied=len(segments) == number)


def advance_flight(segment: Segment, flight: Flight) -> tuple[Flight, Any, Runs]:
    """Run one segment.

    Parameters
    ----------
    segment
        The worker's own.
    flight
        It is used up: its buffers are given away.

    Returns
    -------
    flight, lanes, facts
        What comes next; numbers [n] of the lanes that have ended, and their facts, leaves [n].
    """
    started = time.perf_counter()
    slots, log, next_row = segment(flight.slots, flight.log, flight.next_row, flight.queue, np.int32(flight.num_blocks))
    count = int(log.filled)
    seconds = time.perf_counter() - started
    lanes, facts = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], (log.lane, log.facts))
    log = log._replace(filled=np.int32(0))
    wanted = int(flight.num_blocks * SEGMENT_SECONDS / max(seconds, 1e-4))
    num_blocks = max(1, min(4 * flight.num_blocks, wanted, MAX_BLOCKS))
    return Flight(slots, log, flight.queue, next_row, num_blocks, flight.under_way - count), lanes, facts


class _Shared:
    """What the workers of one call have in common."""

    def __init__(self, program, grid, progress):
        self.program, self.grid, self.progress = program, grid, progress
        self.results = jax.tree.map(lambda leaf: _unfilled(grid.total, leaf), program.blank[1].facts)
        self.num_workers = len(program.segments)
        self.finished, self.stopping = 0, threading.Event()
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    def take_in(self, lanes, facts):
        """Write down what has ended: no two workers ever hold one lane."""
        pairs = zip(jax.tree.leaves(self.results), jax.tree.leaves(facts), strict=True)
        # The first leaf says that a run has ended: it comes last, whenever Ctrl-C may come.
        for out, new in reversed(list(pairs)):
            out[lanes] = new
        with self._lock:
            self.finished += lanes.size

    def fly(self, segment, flight, after=None):
        """Take one worker's flight to its end, or until all stop."""
        while not self.stopping.is_set():
            if int(flight.next_row) == int(flight.queue.length) and not flight.queue.is_last:
                queue = self.grid.take(self.program.num_slots, self.num_workers)
                flight = flight._replace(
                    queue=queue, next_row=np.int32(0), under_way=flight.under_way + int(queue.length)
                )
            if flight.under_way == 0 and flight.queue.is_last:
                return
            flight, lanes, facts = advance_flight(segment, flight)
            self.take_in(lanes, facts)
            if after is not None:
                after()


def stream(program: Program, grid: Grid, progress: Progress) -> tuple[Runs, bool]:
    """Run all lanes of a grid, with as many workers as there are executables and windows for them.

    Parameters
    ----------
    program
        Compiled.
    grid
        Fresh.
    progress
        As in `Sweep.__call__`; it is called by the caller's own thread alone.

    Returns
    -------
    facts, is_whole
        Of all lanes, leaves [N]; not whole after Ctrl-C, which is heard once every worker has ended its segment.
    """
    shared = _Shared(program, grid, progress)
    flights = []
    for _ in program.segments:
        queue = grid.take(program.num_slots, shared.num_workers)
        if flights and not int(queue.length):
            break
        # The program gives its buffers away, random keys among them.
        slots, log = jax.tree.map(lambda leaf: leaf.copy(), program.blank)
        flights.append(Flight(slots, log, queue, np.int32(0), 1, int(queue.length)))
    others = [_worker(shared, *pair) for pair in zip(program.segments[1:], flights[1:], strict=False)]

    def tell():
        if callable(progress):
            progress(shared.finished, grid.total)

    try:
        for thread in others:
            thread.start()
        shared.fly(program.segments[0], flights[0], tell)
        for thread in others:
            while thread.is_alive():
                thread.join(SEGMENT_SECONDS)
                tell()
    except KeyboardInterrupt:
        return shared.results, False
    finally:
        shared.stopping.set()
        for thread in others:
            if thread.ident is not None:
                thread.join()
    if shared.error is not None:
        raise shared.error
    return shared.results, True


def _worker(shared, segment, flight):
    """A thread that flies; settings of JAX that were made for the caller's thread alone hold in it too."""
    x64 = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]

    def work():
        try:
            with own_rules(), jax.enable_x64(x64):
                shared.fly(segment, flight)
        except BaseException as error:
            shared.error = error
            shared.stopping.set()

    return threading.Thread(target=work, name="gdx-sweep")


def _unfilled(total, leaf):
    """Where facts of all runs will stand: NaN or 0 until they are known, and 0 is `Stop.UNFINISHED`."""
    shape = (total, *leaf.shape[1:])
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return np.full(shape, np.nan, leaf.dtype)
    return np.zeros(shape, leaf.dtype)
