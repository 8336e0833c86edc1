"""How many lanes are computed at once, and how a horizon is cut into blocks: fixed rules, no timing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jaxlib.version
import numpy as np

from gdx.stepping.keys import programs_in

CACHE_BYTES = {"cpu": 2 << 20}
"""Working set that the lanes of one step of a worker may share, by backend; others get `DEVICE_BYTES`. XLA splits what
is larger among all cores by itself, for less than workers gain."""
DEVICE_BYTES = 1 << 30
SLOT_RANGE = {"cpu": (4, 128)}
DEVICE_SLOT_RANGE = (64, 1 << 16)
LIGHT_BYTES = 16 << 10
"""Below this a step is so cheap that watching every step of it would cost more than the step."""
COAST_WINDOWS = 20
"""Windows' worth of steps between two watched windows of a light problem, at most."""
MAX_CANDIDATES = 1 << 16
"""Numbers of blocks that are tried for the one that fits a horizon best."""
FACTORIZATIONS = {
    "lu": 1,
    "cholesky": 1,
    "triangular_solve": 1,
    "geqrf": 4,
    "geqp3": 4,
    "qr": 4,
    "householder_product": 4,
    "ormqr": 4,
    "svd": 10,
    "eigh": 10,
    "eig": 10,
    "hessenberg": 10,
    "schur": 10,
    "tridiagonal": 10,
    "tridiagonal_solve": 5,
}
"""Primitives that LAPACK computes on a CPU; operations of each over rows x columns x the lesser of both, at most."""
SPLIT_OPERATIONS = 200_000
"""From which jaxlib 0.10.0 to 0.11.1 shares a batch of matrices among the threads of its pool, and waits for them in a
thread of that pool: two batches at once on two cores wait for each other for ever."""
SPLITTING = ((0, 10, 0), (0, 11, 2))
"""First version of jaxlib that does so, and the first that no longer does."""


class Blocks(NamedTuple):
    """A horizon as equal blocks: `coast` steps that are hardly looked at, then `watch` steps that are recorded."""

    number: int
    coast: int
    watch: int
    padding: int
    """Steps of the first block that do not move, where the horizon is no multiple of a block."""


def work_bytes(program: Any) -> int:
    """Bytes of all intermediate values of one call: how much cache one lane asks for.

    Parameters
    ----------
    program
        The jaxpr of a function.

    Returns
    -------
    int
        A loop's body counts once, of the branches of a condition the largest.
    """
    total = 0
    for equation in program.eqns:
        inner = [work_bytes(part) for part in programs_in(equation)]
        if not inner:
            total += sum(_bytes(variable.aval) for variable in equation.outvars)
        else:
            total += max(inner) if equation.primitive.name == "cond" else sum(inner)
    return total


class Factorization(NamedTuple):
    """A call of LAPACK in one step of one run."""

    number: int
    """Matrices of its batch."""
    operations: int
    """Of each, at most."""


def factorizations(program: Any) -> list[Factorization]:
    """Find the calls of LAPACK that may be shared among threads.

    Parameters
    ----------
    program
        The jaxpr of a function.

    Returns
    -------
    list
        Empty where the installed jaxlib computes every batch in one thread.
    """
    if not SPLITTING[0] <= tuple(jaxlib.version.__version_info__[:3]) < SPLITTING[1]:
        return []
    found = []
    for equation in program.eqns:
        for part in programs_in(equation):
            found += factorizations(part)
        each = FACTORIZATIONS.get(equation.primitive.name)
        if each:
            *batch, rows, columns = equation.invars[-1].aval.shape
            inner = max(min(rows, columns), equation.invars[0].aval.shape[-1])
            found.append(Factorization(math.prod(batch), each * rows * columns * inner))
    return found


def is_split(found: list[Factorization], slots: int) -> bool:
    """Say whether so many lanes at once would have matrices shared among threads.

    Parameters
    ----------
    found
        Calls in one step of one run.
    slots
        Lanes computed at once.

    Returns
    -------
    bool
    """
    return any(slots * call.number > 1 and slots * call.number * call.operations >= SPLIT_OPERATIONS for call in found)


def choose_slots(
    bytes_per_lane: int,
    backend: str,
    num_runs: int | None = None,
    *,
    convolves: bool = False,
    calls: Sequence[Factorization] = (),
) -> int:
    """Lanes computed at once: the power of two whose working set just fits the cache.

    Parameters
    ----------
    bytes_per_lane
        As `work_bytes` gives it.
    backend
        "cpu", "gpu" or "tpu".
    num_runs
        The number of lanes that was announced: slots beyond it are of no use.
    convolves
        Whether the step holds a convolution. Side by side, each with a filter of its own, these are one convolution of
        many groups, at which XLA takes ten times as long on a CPU.
    calls
        As `factorizations` gives them: no more lanes than keep every batch in one thread.

    Returns
    -------
    int
        A power of two. It depends on nothing else, above all not on the number of lanes of a call, since the last bits
        of a result may depend on it.
    """
    if convolves and backend == "cpu":
        return 1
    low, high = SLOT_RANGE.get(backend, DEVICE_SLOT_RANGE)
    fitting = CACHE_BYTES.get(backend, DEVICE_BYTES) // max(bytes_per_lane, 1)
    if num_runs is not None:
        fitting, low = min(fitting, num_runs), min(low, num_runs)
    if calls and backend == "cpu":
        in_one = max((SPLIT_OPERATIONS - 1) // max(call.number * call.operations for call in calls), 1)
        fitting, low = min(fitting, in_one), min(low, in_one)
    return int(min(_power_of_two(max(fitting, low)), high))


def choose_blocks(num_steps: int, window: int, *, spares_watching: bool, watches_all: bool = False) -> Blocks:
    """Cut a horizon into blocks that each end with a watched window.

    Lanes enter and leave between blocks only. Short blocks waste little when a run ends inside one; long blocks
    spread the price of watching.

    Parameters
    ----------
    num_steps
        The horizon T.
    window
        The tail W; shortened to T.
    spares_watching
        Whether watching a step costs more than the step, as for a light one, or where another loss is evaluated to
        judge it.
    watches_all
        Whether no step may go unwatched.

    Returns
    -------
    Blocks
        `number * (coast + watch) == num_steps + padding`.
    """
    watch = min(window, num_steps)
    if watches_all:
        number = -(-num_steps // watch)
        return Blocks(number, 0, watch, number * watch - num_steps)
    spread = min(COAST_WINDOWS, num_steps // (8 * watch)) if spares_watching else 1
    most = max(num_steps // (watch * max(spread, 1)), 1)
    # Of a very long horizon not every way to cut it is looked at: what is left over is small beside it in any case.
    candidates = range(most, max(most // 2, most - MAX_CANDIDATES, 1) - 1, -1)
    number = min(candidates, key=lambda count: (-num_steps % count, -count))
    length = -(-num_steps // number)
    return Blocks(number, length - watch, watch, number * length - num_steps)


def _power_of_two(number):
    """The largest one that is no larger."""
    return 1 << max(number.bit_length() - 1, 0)


def _bytes(aval):
    shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", None)
    return int(np.prod(shape, dtype=np.int64)) * getattr(dtype, "itemsize", 8)
