"""From verdicts to the answer to a criterion, and which criterion suits a problem."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.problems.base import Problem
from gdx.records import legend, sharing
from gdx.sweeps import Runs, Stop
from gdx.verdicts.rest import Verdict, evidence, namespace, verdicts
from gdx.verdicts.training import TrainingVerdict, training_verdicts

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Int8


@legend
class Answer(enum.IntEnum):
    """How a run answers a criterion.

    Examples
    --------
    Continues the example of `gdx`.

    >>> [gdx.Answer(int(code)).name for code in gdx.answers(runs)[:, 0]]
    ['MET', 'MET', 'FAILED', 'FAILED']
    """

    FAILED = 0
    """The run does not meet it, and is not merely unfinished."""
    MET = 1
    """The run meets it."""
    UNDECIDED = 2
    """Merely unfinished: no failure."""


CRITERIA = ("converged", "stable", "bounded", "improved", "trains")
"""Names of the ready-made criteria, each a function of its own: `gdx.converged`, `gdx.stable` and so on.

Examples
--------
>>> from gdx.verdicts import CRITERIA
>>> CRITERIA
('converged', 'stable', 'bounded', 'improved', 'trains')
"""

Criterion = str | Callable[[Runs], Any]
"""A name among `CRITERIA`, or a function `runs -> answers`."""


def answers(runs: Runs, criterion: Criterion = "converged", tolerance: float | None = None) -> Int8[Array, "S R"]:
    """Hold every run against a criterion.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    criterion
        "converged": failed are runs that cycle, wander or diverge; settling ones are undecided.
        "stable": the loss did not rise once in the tail, nor come back up in the horizon's last quarter, or the run
        has converged; needs no tolerance where the loss settles.
        "bounded": failed are runs that diverge; a slow diverger looks bounded until it shows, at growth r a step after
        some 28/ln(r) steps with the default bound.
        "improved": the mean loss over the tail is below the first loss; a cycle may count, and so may a network that
        died.
        "trains": met by trained runs, and by bursting ones, which are there on average, see `gdx.training_verdicts`;
        failed by dead and blown up ones; too slow ones are undecided. Every run is held against the others, so pass all
        runs of a problem together.
        Or any function `runs -> answers`, giving `Answer` codes or booleans, [S, R].
    tolerance
        As in `verdicts`.

    Returns
    -------
    array
        `Answer` codes, int8, [S, R]. Interrupted runs are undecided; a run whose line search or solver found no step
        all through its tail, far from rest, fails all criteria that have a name.

    Raises
    ------
    ValueError
        If there is no such criterion, or a function gives no answers [S, R].

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.answers(runs, lambda runs: runs.last_loss < 1e-9)  # 1 met, 0 failed, see gdx.Answer
    array([[1, 1],
           [1, 1],
           [0, 0],
           [0, 0]], dtype=int8)
    """
    check_criterion(criterion)
    xp, facts = namespace(runs)
    unfinished = facts.stopped == Stop.UNFINISHED
    if callable(criterion):
        codes = _answers_of(criterion, runs, xp)
    elif criterion == "trains":
        codes = _trains(xp, training_verdicts(runs))
    else:
        codes = _named(xp, facts, verdicts(runs, tolerance), evidence(xp, facts, tolerance), criterion)
    return xp.where(unfinished, Answer.UNDECIDED, codes).astype(jnp.int8)


@np.errstate(all="ignore")
def _named(xp, facts, verdict, seen, criterion):
    """Answers to the criteria about rest and bounds."""
    failed = seen.diverged | seen.stuck
    if criterion == "improved":
        met, unknown = facts.tail_loss < facts.first_loss, False
    elif criterion == "bounded":
        met, unknown = ~failed, False
    else:
        met, settling = verdict == Verdict.CONVERGED, verdict == Verdict.SETTLING
        # Held up on its way down by a plateau a run may be slow alone; one that fell back onto it was too fast.
        unknown = (verdict == Verdict.UNDECIDED) | ((verdict == Verdict.STRANDED) & ~seen.fell_back)
        if criterion == "stable":
            # Without gradients it is unknown whether such a run has arrived, but either way it is stable.
            met |= settling | (
                ~seen.knows_gradient & seen.knows_cycles & seen.never_rose & ~seen.cycling & ~seen.burst_late
            )
        else:
            unknown |= settling
    return xp.select([failed, met, unknown], [Answer.FAILED, Answer.MET, Answer.UNDECIDED], Answer.FAILED)


def _trains(xp, verdict):
    unknown = (verdict == TrainingVerdict.TOO_SLOW) | (verdict == TrainingVerdict.UNDECIDED)
    # By the loss that is reached alone: bursts lie between a quarter and half of the way, and do not decide.
    met = (verdict == TrainingVerdict.TRAINED) | (verdict == TrainingVerdict.BURSTING)
    return xp.select([met, unknown], [Answer.MET, Answer.UNDECIDED], Answer.FAILED)


def _answers_of(criterion, runs, xp):
    """What a user's function says, as codes; refused where it says something else."""
    name, shape = criterion_name(criterion), np.shape(runs.stopped)
    said = criterion(runs)
    found = xp.asarray(said) if hasattr(said, "dtype") else np.asarray(said)
    if found.shape != shape or not (found.dtype == bool or jnp.issubdtype(found.dtype, jnp.integer)):
        raise ValueError(
            f"criterion: {name} returns {found.dtype}{list(found.shape)}; "
            f"return booleans or gdx.Answer codes {list(shape)}"
        )
    if found.dtype == bool:
        return xp.where(found, Answer.MET, Answer.FAILED)
    if isinstance(found, np.ndarray) and not np.all((found >= 0) & (found < len(Answer))):
        raise ValueError(f"criterion: {name} returns the code {found.max()}; return gdx.Answer codes, 0 to 2")
    return found


def default_criterion(problem: Any, runs: Runs, tolerance: float | None = None) -> str:
    """Choose the criterion that suits a problem: whether its runs come to rest, or whether they train.

    Parameters
    ----------
    problem
        A Problem; of a callable `hyperparams -> Problem` nothing is known but its runs.
    runs
        Facts of a sweep over it, leaves [S, R], of step sizes that work and of such that do not.
    tolerance
        As in `verdicts`.

    Returns
    -------
    str
        "trains" where the problem has batches or mutable state. Otherwise "converged" where `known.min_sharpness` is
        known in closed form. Otherwise by the runs with the best late loss of the sweep, that are within the square
        root of machine precision of the way from the median first loss to it: "converged" if at least half of them
        have converged, "trains" if most are still moving. The small gradient of a network that died, at a larger loss,
        so never makes "converged" the choice.

    Examples
    --------
    Continues the example of `gdx`.

    >>> from gdx.verdicts import default_criterion
    >>> default_criterion(problem, runs)
    'converged'
    """
    return choose_criterion(problem, runs, tolerance)[0]


def choose_criterion(problem: Any, runs: Runs, tolerance: float | None = None) -> tuple[str, str]:
    """Choose the criterion that suits a problem, and say why.

    Parameters
    ----------
    problem, runs, tolerance
        As in `default_criterion`.

    Returns
    -------
    criterion, reason

    Examples
    --------
    Continues the example of `gdx`.

    >>> from gdx.verdicts import choose_criterion
    >>> choose_criterion(problem, runs)
    ('converged', 'the curvature of its minimum is known')
    """
    if isinstance(problem, Problem):
        if problem.batches is not None:
            return "trains", "the problem has batches"
        _, state = jax.eval_shape(problem.init, jax.random.key(0))
        if jax.tree.leaves(state):
            return "trains", "the problem has mutable state"
        if problem.known is not None and problem.known.min_sharpness is not None:
            return "converged", "the curvature of its minimum is known"
    host = {name: np.asarray(value) for name, value in runs._asdict().items() if name != "observed"}
    facts = Runs(**host, observed={})
    verdict = np.asarray(verdicts(facts, tolerance))
    usable = np.isfinite(facts.late_loss) & (verdict != Verdict.DIVERGED) & (facts.stopped != Stop.UNFINISHED)
    if not usable.any():
        return "converged", "every run diverged"
    best = np.min(facts.late_loss[usable])
    within = np.sqrt(jnp.finfo(facts.late_loss.dtype).eps) * max(np.median(facts.first_training_loss[usable]) - best, 0)
    is_best = usable & (facts.late_loss <= best + within)
    resting, number = int(np.sum(verdict[is_best] == Verdict.CONVERGED)), int(np.sum(is_best))
    reason = f"{resting} of the {number} runs with the best loss came to rest"
    return ("converged" if resting >= 0.5 * number else "trains"), reason


_OF_RUNS = """
    Parameters
    ----------
    runs
        Facts, leaves [S, R].{more}

    Returns
    -------
    array
        bool, [S, R].
    """
_to_a_tolerance = sharing(_OF_RUNS.format(more="\n    tolerance\n        As in `verdicts`."))
_of_facts_alone = sharing(_OF_RUNS.format(more=""))


@_of_facts_alone
def trains(runs: Runs) -> Bool[Array, "S R"]:
    """Whether a run reached, late, a loss nearer to the best of all runs than to that of learning nothing.

    So all runs of a problem that there are belong together; see `training_verdicts`.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.trains(runs)[:, 0]
    array([ True,  True, False, False])
    """
    return answers(runs, "trains") == Answer.MET


@_to_a_tolerance
def converged(runs: Runs, tolerance: float | None = None) -> Bool[Array, "S R"]:
    """Whether the gradient norm stayed at or below the tolerance over the whole tail.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.converged(runs)[:, 0], gdx.converged(runs, tolerance=1e-30)[:, 0]
    (array([ True,  True, False, False]), array([False, False, False, False]))
    """
    return answers(runs, "converged", tolerance) == Answer.MET


@_to_a_tolerance
def stable(runs: Runs, tolerance: float | None = None) -> Bool[Array, "S R"]:
    """Whether a run has converged, or its loss did not rise once in the tail.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.stable(runs)[:, 0]
    array([ True,  True, False, False])
    """
    return answers(runs, "stable", tolerance) == Answer.MET


@_of_facts_alone
def bounded(runs: Runs) -> Bool[Array, "S R"]:
    """Whether a run did not diverge within its horizon; a slow diverger looks bounded until it shows.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.bounded(runs)[:, 0]
    array([ True,  True, False, False])
    """
    return answers(runs, "bounded") == Answer.MET


@_of_facts_alone
def improved(runs: Runs) -> Bool[Array, "S R"]:
    """Whether the mean loss over the tail is below the first loss.

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.improved(runs)[:, 0]
    array([ True,  True, False, False])
    """
    return answers(runs, "improved") == Answer.MET


def check_criterion(criterion: Criterion) -> None:
    """Refuse a criterion that does not exist.

    Parameters
    ----------
    criterion
        Its name, or a function `runs -> answers`.

    Raises
    ------
    ValueError
        With the names that do.

    Examples
    --------
    >>> from gdx.verdicts import check_criterion
    >>> check_criterion("converged")
    >>> check_criterion("convergd")
    Traceback (most recent call last):
        ...
    ValueError: criterion: 'convergd' is unknown; choose from converged, ...
    """
    if not callable(criterion) and criterion not in CRITERIA:
        raise ValueError(
            f"criterion: {criterion!r} is unknown; "
            f"choose from {', '.join(CRITERIA)}, or pass a function runs -> answers"
        )


def criterion_name(criterion: Criterion) -> str:
    """Name a criterion in a report.

    Parameters
    ----------
    criterion
        Its name, or a function `runs -> answers`.

    Returns
    -------
    str
        A function's own name.

    Examples
    --------
    >>> from gdx.verdicts import criterion_name
    >>> def halved(runs):
    ...     return runs.last_loss < runs.first_loss / 2
    >>> criterion_name("trains"), criterion_name(halved)
    ('trains', 'halved')
    """
    if isinstance(criterion, str):
        return criterion
    if isinstance(criterion, functools.partial):
        return criterion_name(criterion.func)
    name = getattr(criterion, "__name__", type(criterion).__name__)
    return "a function of your own" if name == "<lambda>" else name
