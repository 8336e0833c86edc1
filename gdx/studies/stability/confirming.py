"""Whether plain runs say what the sweep's say, and what becomes of the answer where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gdx.edges import Bracket
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.found import RangeTest, Trust
from gdx.studies.stability.plain import RANGE, late_loss, smoothed, suggestions
from gdx.studies.stability.scanning import NOTHING, Reading
from gdx.verdicts import TrainingVerdict

MOST_BESTS = 4
"""Step sizes, from the best on, that are tried until both roads agree about one."""
MOST_STARTS = 3
"""That are run again at each step size."""


class Confirmed(NamedTuple):
    """What is left of an answer after the second road."""

    largest_step: Bracket
    trust: Trust
    best: int
    """Index of the best step size that both roads agree to train at; -1 for none."""


NOT_YET = Confirmed(
    NOTHING,
    Trust(0, 0, (), "interrupted before any run was made again in a plain loop, so there is no number"),
    -1,
)
"""Of an answer before its second road."""


def confirm(train: Callable[..., Any], keys: Any, found: Reading, clock: Clock) -> Confirmed:
    """Make some of the runs again in a plain loop, at the best step size and on both sides of the edge.

    Parameters
    ----------
    train
        As `losses_of` makes it.
    keys
        Typed random keys [R].
    found
        What they say.
    clock
        Of the budget.

    Returns
    -------
    Confirmed
        Near an edge single runs are chaotic, and rounding decides which of them train. So the bracket's ends are where
        both roads agree: up to the lower one every start trains in both, at the upper one some start fails in both.
        Where they do not agree about the best step size, or about no failure at all, there is no number.
    """
    again = _Again(train, keys, found)
    with np.errstate(invalid="ignore"):
        order = np.argsort(np.where(found.trains, np.max(found.losses, axis=1), np.inf))[:MOST_BESTS]
    best = next((int(at) for at in order if found.trains[at] and again.all_train(int(at))), -1)
    if best < 0:
        return Confirmed(NOTHING, again.trust(_why_nothing(found)), -1)
    lower = int(np.searchsorted(found.step_sizes, found._replace(best=best).largest_step.lower))
    while lower > best and not again.all_train(lower):
        lower -= 1
    upper = next((at for at in range(lower + 1, found.step_sizes.size) if again.one_fails(at, clock)), None)
    if upper is None and again.fails[lower + 1 :].any():
        note = "plain optax runs train where the sweep's do not, so there is no number"
        return Confirmed(NOTHING, again.trust(note), best)
    end = math.inf if upper is None else float(found.step_sizes[upper])
    note = "" if clock.left >= 0 else "no time was left to run more of them again"
    return Confirmed(Bracket(float(found.step_sizes[lower]), end), again.trust(note), best)


def _why_nothing(found):
    """Why there is no step size to confirm."""
    if found.trains.any():
        return "plain optax runs at the best step sizes do not train as the sweep's do, so there is no number"
    some = np.flatnonzero(np.any(found.codes == TrainingVerdict.TRAINED, axis=1))
    if some.size:
        low, high = found.step_sizes[some[0]], found.step_sizes[some[-1]]
        return f"at no step size does every start train; single ones do from {low:.2g} to {high:.2g}"
    if not np.isfinite(found.losses).any():
        return "no run had a finite loss to its end"
    return "no run learned anything that can be told from chance"


class _Again:
    """Plain runs, each made once."""

    def __init__(self, train, keys, found):
        self._run, self._keys, self._found = train, keys, found
        with np.errstate(invalid="ignore"):
            self._learned = found.losses <= float(found.level.halfway)
        self._said: dict[tuple[int, int], bool] = {}

    @property
    def fails(self):
        """Where the sweep's runs plainly do, [P, R]: a burst alone is a matter of degree."""
        return ~self._learned

    def trains(self, at, start):
        if (at, start) not in self._said:
            loss = late_loss(self._run(self._found.step_sizes[at], self._keys[start]))
            self._said[at, start] = bool(loss <= float(self._found.level.halfway))
        return self._said[at, start]

    def all_train(self, at):
        return all(self.trains(at, start) for start in range(min(self._keys.shape[0], MOST_STARTS)))

    def one_fails(self, at, clock):
        """Whether some start fails on both roads, the same or another; without time the sweep's word is taken."""
        starts = np.flatnonzero(self.fails[at])[:MOST_STARTS]
        return starts.size > 0 and (clock.left < 0 or any(not self.trains(at, int(start)) for start in starts))

    def trust(self, note):
        agree = sum(said == bool(self._learned[run]) for run, said in self._said.items())
        sizes = tuple(sorted({float(self._found.step_sizes[at]) for at, _ in self._said}))
        return Trust(len(self._said), agree, sizes, note)


def range_test(train: Callable[..., Any], keys: Any) -> RangeTest:
    """Make a learning-rate range test, a plain run whose step size grows at every step, from a few starts.

    Parameters
    ----------
    train
        As `losses_of` makes it.
    keys
        Of the starts, [R].

    Returns
    -------
    RangeTest
        Of the first start; of fewer steps where the horizon is shorter.
    """
    step_sizes = np.geomspace(*RANGE)
    every = [smoothed(train(step_sizes, key)) for key in keys[:MOST_STARTS]]
    each = [suggestions(step_sizes, losses) for losses in every]
    ranges = {name: _finite_range([one[name] for one in each]) for name in each[0]}
    return RangeTest(step_sizes[: len(every[0])], every[0], each[0], ranges)


def _finite_range(values):
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (math.nan, math.nan)
