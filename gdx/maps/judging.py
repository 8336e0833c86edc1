"""From runs to answers and verdicts, as the criterion wants them, and the little that is kept of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from gdx.sweeps import Runs
from gdx.sweeps.runs import STEP_SIZES
from gdx.verdicts import Answer, answers, training_verdicts, verdicts

KEPT = (
    "stopped",
    "steps",
    "first_loss",
    "best_loss",
    "last_loss",
    "tail_loss",
    "first_gradient_norm",
    "tail_gradient_norm_max",
    "gradient_rate",
    "first_bad_step",
    "period",
)
"""Facts that are kept of every run, where its answer depends on no other: a quarter of what a sweep says."""


class Judged(NamedTuple):
    """What is kept of runs, leaves [C, R]."""

    answers: Any
    verdicts: Any
    facts: dict[str, Any]
    observed: dict[str, Any]


def judge(runs: Runs, criterion: Any, tolerance: float | None) -> Judged:
    """Hold runs against a criterion and keep what a map needs of them.

    Parameters
    ----------
    runs
        Facts, leaves [C, R].
    criterion, tolerance
        As in `gdx.answers`.

    Returns
    -------
    Judged
    """
    runs = jax.tree.map(np.asarray, runs)
    found = np.asarray(answers(unordered(runs, criterion), criterion, tolerance))
    facts = {name: getattr(runs, name) for name in KEPT}
    return Judged(found, verdicts_of(runs, criterion, tolerance), facts, runs.observed)


def verdicts_of(runs: Runs, criterion: Any, tolerance: float | None) -> np.ndarray:
    """Verdicts of the kind that goes with a criterion.

    Parameters
    ----------
    runs, criterion, tolerance
        As in `judge`.

    Returns
    -------
    array
        `TrainingVerdict` codes for "trains", else `Verdict` codes, [C, R].
    """
    if criterion == "trains":
        return np.asarray(training_verdicts(unordered(runs, criterion)))
    return np.asarray(verdicts(runs, tolerance))


def unordered(runs: Runs, criterion: Any) -> Runs:
    """Hide step sizes from training verdicts, which take runs of one start for ordered by them alone.

    Parameters
    ----------
    runs
        Facts, leaves [C, R].
    criterion
        As in `gdx.answers`.

    Returns
    -------
    Runs
    """
    if criterion != "trains" or not isinstance(runs.hyperparams, dict):
        return runs
    names = {name: f"its {name}" if name in STEP_SIZES else name for name in runs.hyperparams}
    hidden = {names[name]: values for name, values in runs.hyperparams.items()}
    return runs._replace(hyperparams=hidden | {"another": np.zeros(np.shape(runs.stopped))})


def verdict_of(codes: np.ndarray) -> np.ndarray:
    """Give the commonest verdict of every cell, the smaller code where two are equally common.

    Parameters
    ----------
    codes
        [C, R].

    Returns
    -------
    array
        [C].
    """
    counts = np.stack([np.sum(codes == code, axis=1) for code in range(int(codes.max(initial=0)) + 1)])
    return np.argmax(counts, axis=0)


def answer_of(codes: Any) -> np.ndarray:
    """Give one answer of all runs of a cell.

    Parameters
    ----------
    codes
        `Answer` codes, [C, R].

    Returns
    -------
    array
        [C]: MET where all succeed, FAILED where none does and some run fails, else UNDECIDED.
    """
    meets, fails = np.asarray(codes) == Answer.MET, np.asarray(codes) == Answer.FAILED
    none = ~meets.any(axis=1) & fails.any(axis=1)
    return np.where(meets.all(axis=1), Answer.MET, np.where(none, Answer.FAILED, Answer.UNDECIDED)).astype(int)


def joined(parts: Any) -> Any:
    """Put pytrees of one structure behind each other, along the leading axis of their leaves."""
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def check_alike(observed: list[Any]) -> None:
    """Refuse summaries whose shapes depend on a static hyperparameter.

    Parameters
    ----------
    observed
        Of the runs of each call.

    Raises
    ------
    ValueError
        If the last are of other shapes than the first.
    """
    first, last = (jax.tree.map(lambda leaf: np.shape(leaf)[2:], observed[at]) for at in (0, -1))
    if first != last:
        raise ValueError(
            "observers: their summaries change shape along a static axis; summarise to numbers, or map each value alone"
        )
