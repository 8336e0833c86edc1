"""From answers along the step-size axis to brackets: where they change, and how far that is worth refining."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.edges.edge import NAMES_OF_FAILURE, Bracket, Edge, EdgeStatus
from gdx.verdicts import Answer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8

MAX_CROSSINGS = 16
"""Crossings refined beside the two outermost; a boundary with more is fractal, and finer points only find more."""
SHARE = 0.05
"""Of the logarithmic width over which starts disagree, or one start's answers alternate: finer brackets tell nothing of
the next start."""
DISAGREE = 0.1
"""Logarithmic width from which starts are said to disagree; below, it is the horizon that sees them differently."""
ALTERNATE = 6
"""Changes of one start's answers above its first success, from which they alternate rather than come back once."""
NOTHING = Bracket(math.nan, math.nan)


def failures(found: Int8[np.ndarray, "P R"], criterion: str | Callable[..., Any]) -> Bool[np.ndarray, "P R"]:
    """Tell which runs failed by too large a step.

    Parameters
    ----------
    found
        `Answer` codes, ascending step sizes.
    criterion
        What they answer.

    Returns
    -------
    array
        Where slowness may be a failure, failures below a start's own first success are none of too large a step; nor,
        for a start that never succeeds, those below the first success of any.
    """
    failed = _is(found, Answer.FAILED)
    if criterion in NAMES_OF_FAILURE:
        return failed
    met = _is(found, Answer.MET)
    if not met.any():
        return failed
    met[:, ~met.any(axis=0)] = met.any(axis=1)[:, None]
    return failed & np.logical_or.accumulate(met, axis=0)


def read_edge(
    step_sizes: Float[np.ndarray, " P"], found: Int8[np.ndarray, "P R"], criterion: str | Callable[..., Any]
) -> Edge:
    """Read brackets and status off the answers.

    Parameters
    ----------
    step_sizes
        Ascending.
    found
        `Answer` codes there.
    criterion
        What they answer.

    Returns
    -------
    Edge
        Without what only the search knows: its settings, its runs, an estimate.
    """
    met, failed = _is(found, Answer.MET), failures(found, criterion)
    meets, fails = np.any(met, axis=1), np.asarray(np.any(failed, axis=1))
    first_met = int(np.argmax(meets)) if meets.any() else 0
    flips = fails[1:] != fails[:-1]
    meets_above = meets.copy()
    meets_above[:first_met] = meets_above[first_met]
    flips_met = meets_above[1:] != meets_above[:-1]
    is_slow_below = meets.any() and first_met > 0 and not fails[:first_met].any()
    if not fails.any():
        status = EdgeStatus.ALL_MEET if meets[-1] and 2 * met.sum() >= met.size else EdgeStatus.UNDECIDED
    elif not meets.any():
        status = EdgeStatus.NONE_MEETS
    elif flips.sum() == 1 and flips_met.sum() == 1 and fails[-1]:
        status = EdgeStatus.BRACKETED
    else:
        status = EdgeStatus.NOT_MONOTONE
    return Edge(
        first_failure=_first(step_sizes, fails),
        last_success=_last(step_sizes, meets),
        crossings=tuple(_between(step_sizes, i + 1) for i in np.flatnonzero(flips | flips_met)),
        too_slow_below=float(step_sizes[first_met]) if is_slow_below else math.nan,
        status=status,
        criterion="",
        tolerance=math.nan,
        horizon=0,
        repeats=found.shape[1],
        slots=0,
        step_sizes=step_sizes,
        answers=found,
        by_start=tuple(_last(step_sizes, column) for column in met.T),
    )


def edge_of_start(edge: Edge, repeat: int) -> Edge:
    """Read the edge of one start alone.

    Parameters
    ----------
    edge
        Of all starts, as `gdx.critical_step_size` gives it; with `each_start` every start's own is refined.
    repeat
        Index of the start, below R.

    Returns
    -------
    Edge
        With that start's runs, and without an estimate unless it is of this start.

    Raises
    ------
    ValueError
        If there is no such start.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.edge_of_start(edge, 0).repeats
    1
    """
    if not (0 <= repeat < edge.repeats):
        raise ValueError(f"repeat: {repeat} is outside [0, {edge.repeats}); pass the index of a start")
    own = read_edge(edge.step_sizes, edge.answers[:, [repeat]], edge.criterion)
    runs = None if edge.runs is None else jax.tree.map(lambda leaf: leaf[:, [repeat]], edge.runs)
    is_its_own = edge.estimate is not None and edge.estimate.repeat == repeat
    return own._replace(
        criterion=edge.criterion,
        tolerance=edge.tolerance,
        horizon=edge.horizon,
        slots=edge.slots,
        runs=runs,
        estimate=edge.estimate if is_its_own else None,
    )


def worth_refining(
    step_sizes: Float[np.ndarray, " P"],
    found: Int8[np.ndarray, "P R"],
    criterion: str | Callable[..., Any],
    rtol: float,
    *,
    each_start: bool = False,
) -> list[Bracket]:
    """Give the changes whose brackets are wider than what is worth knowing.

    Parameters
    ----------
    step_sizes, found, criterion
        As in `read_edge`.
    rtol
        Relative width that is good enough where starts agree.
    each_start
        Whether to refine what every start's own edges are; by default only those of all starts together.

    Returns
    -------
    list of Bracket
        The outermost, and all others as long as they are few; ascending.
    """
    if each_start:
        # Each by itself, so that no disagreement of starts coarsens them.
        columns = [worth_refining(step_sizes, column[:, None], criterion, rtol) for column in found.T]
        return sorted({pair for own in columns for pair in own})
    edge, failed = read_edge(step_sizes, found, criterion), failures(found, criterion)
    first_failures = [_first(step_sizes, column) for column in failed.T]
    at_first, at_last = (max(rtol, SHARE * _disagreement(pairs)) for pairs in (first_failures, edge.by_start))
    within = [
        math.log(last.lower / first.upper)
        for first, last, changes in zip(first_failures, edge.by_start, _changes(found, failed), strict=True)
        if changes >= ALTERNATE and last.lower > first.upper
    ]
    if criterion not in NAMES_OF_FAILURE and edge.last_success.lower > edge.first_failure.upper:
        # Where success is a matter of degree, all of what lies between the two is the boundary's width.
        within.append(math.log(edge.last_success.lower / edge.first_failure.upper))
    finest = max([rtol, *(SHARE * width for width in within)])
    wanted = {edge.first_failure: max(at_first, finest), edge.last_success: max(at_last, finest)}
    if len(edge.crossings) <= MAX_CROSSINGS:
        wanted = dict.fromkeys(edge.crossings, max(at_first, at_last, finest)) | wanted
    return sorted(pair for pair, width in wanted.items() if _is_wide(pair, width))


def _is(found: Any, answer: Answer) -> Any:
    return found == answer


def _changes(found, failed):
    """How often each start's answers go between success and failure, [R]; what is undecided is passed over."""
    met = _is(found, Answer.MET)
    counts = []
    for m, f in zip(met.T, failed.T, strict=True):
        decided = m[m | f]
        counts.append(int(np.sum(decided[1:] != decided[:-1])))
    return counts


def _disagreement(pairs):
    """Logarithmic width over which starts' own changes are proven to lie apart."""
    known = [pair for pair in pairs if pair.lower > 0 and math.isfinite(pair.upper)]
    if not known:
        return 0.0
    width = math.log(max(pair.lower for pair in known) / min(pair.upper for pair in known))
    return width if width > DISAGREE else 0.0


def _is_wide(pair, width):
    return pair.lower > 0 and math.isfinite(pair.upper) and pair.upper > pair.lower * (1 + width)


def _first(step_sizes, holds):
    return _between(step_sizes, int(np.argmax(holds))) if holds.any() else NOTHING


def _last(step_sizes, holds):
    return _between(step_sizes, len(holds) - int(np.argmax(holds[::-1]))) if holds.any() else NOTHING


def _between(step_sizes, upper):
    """Bracket whose upper end has this index; the axis ends at 0 and at infinity."""
    low = float(step_sizes[upper - 1]) if upper > 0 else 0.0
    return Bracket(low, float(step_sizes[upper]) if upper < len(step_sizes) else math.inf)
