"""A scan that grows at its ends until it has seen what lies on both sides of an edge."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.edges.edge import NAMES_OF_FAILURE
from gdx.edges.reading import failures
from gdx.edges.starting import LIMITS, SPACING
from gdx.exploring import Exploration, explore
from gdx.progress import Progress
from gdx.verdicts import Answer

if TYPE_CHECKING:
    from jaxtyping import Int8

BLOCK_POINTS = 4
"""By which a scan grows that has not seen both ends."""
DOUBTS = 2
"""Rounds in which it grows downwards from success, in search of runs that are too slow."""
GAP_POINTS = 15
"""Between the last unfinished run and the first failure, where no success was seen."""


def grow(
    explored: Exploration,
    answered: Callable[[Exploration], Int8[np.ndarray, "P R"]],
    criterion: str | Callable[..., Any],
    progress: Progress = None,
) -> None:
    """Add step sizes until some run fails beyond the last success and none for too large a step below the first.

    Parameters
    ----------
    explored
        Runs so far, at least one; it keeps all that are added.
    answered
        Gives the `Answer` codes of all of them.
    criterion
        What they answer.
    progress
        As in `Sweep.__call__`.

    Notes
    -----
    Nothing is looked for outside of `LIMITS`.
    """

    def ends(explored, doubts=False):
        return _at_the_ends(explored.step_sizes, answered(explored), criterion, doubts)

    explore(explored, functools.partial(ends, doubts=True), progress, rounds=DOUBTS)
    explore(explored, ends, progress)
    for between in (_between_unfinished_and_failed, _halfway):
        explored.add(between(explored.step_sizes, answered(explored)), progress)


def _at_the_ends(step_sizes, found, criterion, doubts):
    """Points beyond the ends that have not been seen yet."""
    upwards = SPACING ** np.arange(1.0, BLOCK_POINTS + 1)
    new = np.zeros(0)
    if _is_open_above(found, criterion):
        new = np.append(new, step_sizes[-1] * upwards)
    if _is_open_below(found, criterion) or (doubts and _is_doubtful_below(found, criterion)):
        new = np.append(new, step_sizes[0] / upwards)
    return new[(new >= LIMITS[0]) & (new <= LIMITS[1])]


def _is_open_above(found, criterion):
    meets, fails = np.any(found == Answer.MET, axis=1), np.any(failures(found, criterion), axis=1)
    if not meets.any():
        # Where slowness is a failure too, nobody knows yet on which side of the edge all these runs are.
        return not fails.any() or criterion not in NAMES_OF_FAILURE
    beyond = len(meets) - int(np.argmax(meets[::-1]))
    return beyond > len(meets) - 2 or not fails[beyond:].any()


def _is_open_below(found, criterion):
    return bool(np.any(failures(found, criterion)[0]))


def _is_doubtful_below(found, criterion):
    """Whether all succeed at the smallest step size, where a run may do so only because none did better yet."""
    return criterion not in (*NAMES_OF_FAILURE, "improved") and bool(np.all(found[0] == Answer.MET))


def _between_unfinished_and_failed(step_sizes, found):
    """Points where no success was seen, though smaller step sizes are unfinished and larger ones fail."""
    fails = np.any(found == Answer.FAILED, axis=1)
    if np.any(found == Answer.MET) or fails[0] or not fails.any():
        return np.zeros(0)
    at = int(np.argmax(fails))
    return np.geomspace(step_sizes[at - 1], step_sizes[at], GAP_POINTS + 2)[1:-1]


def _halfway(step_sizes, found):
    """Points in the middle of the wide gaps from the first success to beyond the last."""
    meets = np.any(found == Answer.MET, axis=1)
    if not meets.any():
        return np.zeros(0)
    first, last = int(np.argmax(meets)), len(meets) - 1 - int(np.argmax(meets[::-1]))
    inside = step_sizes[first : last + 2]
    return np.sqrt(inside[1:] * inside[:-1])[inside[1:] > 2 * inside[:-1]]
