"""From facts to verdicts, and from verdicts to the answer to a criterion."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from gdx.sweeps import Runs, Stop

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Int8


class Verdict(enum.IntEnum):
    """What became of a run."""

    CONVERGED = 0
    """The gradient norm stayed at or below the tolerance over the whole tail."""
    SETTLING = 1
    """Not there yet, but the loss did not rise once in the tail."""
    CYCLING = 2
    """The orbit comes back after two steps or more."""
    APERIODIC = 3
    """Bounded, rising and falling, without a period within the tail, not even nearly, and without a trend."""
    DIVERGED = 4
    """The loss was no longer finite, or beyond the blow-up bound."""
    UNDECIDED = 5
    """The loss rises and falls while the size of the gradient still drifts, or the orbit is nearly a cycle: a longer
    horizon would tell."""


class Answer(enum.IntEnum):
    """How a run answers a criterion."""

    FAILED = 0
    MET = 1
    UNDECIDED = 2
    """Merely unfinished: no failure."""


CRITERIA = ("converged", "stable", "bounded", "improved")


def verdicts(runs: Runs, tolerance: float | None = None) -> Int8[Array, "S R"]:
    """Say what became of every run.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    tolerance
        Largest gradient norm over the tail, relative to the first, of a run that has converged; by default what the
        sweep was told. Runs that the sweep retired as converged were watched no further: a tighter tolerance
        than the sweep's leaves them settling or undecided.

    Returns
    -------
    array
        `Verdict` codes, int8, [S, R].

    Notes
    -----
    Verdicts are tried in the order diverged, converged, cycling, settling, undecided, aperiodic. Cycling stands
    before settling since a symmetric cycle has one loss at all its points, which never rises.
    """
    xp, facts = _namespace(runs)
    limit = facts.tolerance if tolerance is None else tolerance
    ended_bad = (facts.stopped == Stop.NONFINITE) | (facts.stopped == Stop.BLOWN_UP)
    beyond = ~(xp.abs(facts.last_loss - facts.first_loss) <= facts.loss_bound)
    wanders = (facts.trend == 0) & (facts.near_period == 0)
    rest = xp.where(wanders, Verdict.APERIODIC, Verdict.UNDECIDED)
    codes = xp.select(
        [
            facts.stopped == Stop.UNFINISHED,
            ended_bad | beyond,
            facts.tail_gradient_norm_max <= limit * facts.first_gradient_norm,
            facts.period >= 2,
            facts.loss_rises == 0,
        ],
        [Verdict.UNDECIDED, Verdict.DIVERGED, Verdict.CONVERGED, Verdict.CYCLING, Verdict.SETTLING],
        rest,
    )
    return codes.astype(jnp.int8)


def answers(runs: Runs, criterion: str = "converged", tolerance: float | None = None) -> Int8[Array, "S R"]:
    """Hold every run against a criterion.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    criterion
        "converged": failed are runs that cycle, wander or diverge; settling ones are undecided.
        "stable": the loss did not rise once in the tail, or the run has converged; needs no tolerance where the
        loss settles.
        "bounded": failed are runs that diverge; a slow diverger looks bounded until it shows, at growth r a step after
        some 28/ln(r) steps with the default bound.
        "improved": the mean loss over the tail is below the first loss; a cycle may count.
    tolerance
        As in `verdicts`.

    Returns
    -------
    array
        `Answer` codes, int8, [S, R].

    Raises
    ------
    ValueError
        If there is no such criterion.
    """
    check_criterion(criterion)
    xp, facts = _namespace(runs)
    verdict = verdicts(runs, tolerance)
    failed = verdict == Verdict.DIVERGED
    unknown = facts.stopped == Stop.UNFINISHED
    if criterion == "improved":
        met = facts.tail_loss < facts.first_loss
    elif criterion == "bounded":
        met = ~failed
    else:
        met = verdict == Verdict.CONVERGED
        settling = verdict == Verdict.SETTLING
        unknown |= verdict == Verdict.UNDECIDED
        if criterion == "stable":
            met |= settling
        else:
            unknown |= settling
    codes = xp.select([unknown, met & ~failed], [Answer.UNDECIDED, Answer.MET], Answer.FAILED)
    return codes.astype(jnp.int8)


def converged(runs: Runs, tolerance: float | None = None) -> Bool[Array, "S R"]:
    """Whether the gradient norm stayed at or below the tolerance over the whole tail.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    tolerance
        As in `verdicts`.

    Returns
    -------
    array
        bool, [S, R].
    """
    return answers(runs, "converged", tolerance) == Answer.MET


def stable(runs: Runs, tolerance: float | None = None) -> Bool[Array, "S R"]:
    """Whether a run has converged, or its loss did not rise once in the tail.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    tolerance
        As in `verdicts`.

    Returns
    -------
    array
        bool, [S, R].
    """
    return answers(runs, "stable", tolerance) == Answer.MET


def bounded(runs: Runs) -> Bool[Array, "S R"]:
    """Whether a run did not diverge within its horizon; a slow diverger looks bounded until it shows.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].

    Returns
    -------
    array
        bool, [S, R].
    """
    return answers(runs, "bounded") == Answer.MET


def improved(runs: Runs) -> Bool[Array, "S R"]:
    """Whether the mean loss over the tail is below the first loss.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].

    Returns
    -------
    array
        bool, [S, R].
    """
    return answers(runs, "improved") == Answer.MET


def check_criterion(criterion: str) -> None:
    """Refuse a criterion that does not exist.

    Parameters
    ----------
    criterion
        Its name.

    Raises
    ------
    ValueError
        With the names that do.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion: {criterion!r} is unknown; choose from {', '.join(CRITERIA)}")


def _namespace(runs: Runs) -> tuple[Any, Runs]:
    """NumPy where all facts are on the host, so that nothing is compiled; else jax.numpy, which also traces."""
    facts = {name: value for name, value in runs._asdict().items() if name != "observed"}
    xp = np if all(isinstance(value, np.ndarray) for value in facts.values()) else jnp
    return xp, Runs(**{name: xp.asarray(value) for name, value in facts.items()}, observed={})
