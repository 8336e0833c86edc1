"""Runs with one thing changed, made again by plain optax loops."""

from __future__ import annotations

from typing import Any

from gdx.problems.base import Problem
from gdx.stepping import Family
from gdx.studies.stability.plain import late_loss, losses_of

MOST_STARTS = 3
"""That are run again at each step size."""


class Again:
    """Plain runs, compiled once a problem.

    Attributes
    ----------
    num_runs : int
        Made so far.
    """

    def __init__(self, family: Family, num_steps: int, keys: Any, halfway: float):
        self._family, self._num_steps, self._halfway = family, num_steps, halfway
        self._keys, self._trains, self.num_runs = keys[:MOST_STARTS], {}, 0

    def all_train(self, problem: Problem, hyperparams: dict[str, float]) -> bool:
        """Say whether all starts do.

        Parameters
        ----------
        problem
            With or without a change.
        hyperparams
            Of the family.

        Returns
        -------
        bool
            False with the first start that does not.
        """
        if id(problem) not in self._trains:
            # Kept, so that no other problem gets its number.
            self._trains[id(problem)] = problem, losses_of(problem, self._family, self._num_steps)
        train = self._trains[id(problem)][1]
        for key in self._keys:
            self.num_runs += 1
            if not late_loss(train(hyperparams, key)) <= self._halfway:
                return False
        return True
