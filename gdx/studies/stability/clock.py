"""A budget of seconds, heard inside of sweeps as Ctrl-C is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class OutOfTime(KeyboardInterrupt):
    """The budget is spent: a sweep ends as on Ctrl-C, with what it has."""


class Clock:
    """Seconds that may be spent.

    Attributes
    ----------
    budget : float
        All of them.
    is_over : bool
        Whether a sweep was ended for it.
    was_stopped : bool
        Whether somebody ended all of it by Ctrl-C.
    """

    def __init__(self, budget: float):
        self.budget, self.is_over, self.was_stopped = budget, False, False
        self._began, self._until = time.perf_counter(), budget

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return time.perf_counter() - self._began

    @property
    def left(self) -> float:
        """Of what may go into what is being done, see `spend`."""
        return -1.0 if self.was_stopped else self._until - self.seconds

    def spend(self, share: float) -> None:
        """Say how much of what is left of the budget may go into what comes now.

        Parameters
        ----------
        share
            From 0 to 1.
        """
        self._until, self.is_over = self.seconds + share * max(self.budget - self.seconds, 0.0), False

    def stop(self) -> None:
        """Leave no more time for anything."""
        self.was_stopped = True

    def watching(self, progress: Any, stage: str) -> Callable[[int, int], None]:
        """Make a `progress` for sweeps that ends them when time is up.

        Parameters
        ----------
        progress
            `progress(stage, finished, total)`, or anything else for none.
        stage
            What it is told.

        Returns
        -------
        callable
        """

        def watch(finished, total):
            if callable(progress):
                progress(stage, finished, total)
            if self.left < 0 and finished < total:
                self.is_over = True
                raise OutOfTime

        return watch
