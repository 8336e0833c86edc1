"""The one loop of everything that asks for points, looks at the answers and asks again; and all runs that it made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from gdx.checks import inside
from gdx.progress import Progress
from gdx.sweeps import Interrupted, Runs, Stop, Sweep
from gdx.trees import rows

if TYPE_CHECKING:
    import chex

MAX_ROUNDS = 100
"""Of one question, which mostly has its answer long before."""

POSITION = "position"
"""Name of the one hyperparameter of runs along a line."""

Along = Callable[[float], Any]
"""From a position along a line to the hyperparameters there."""


class Exploration:
    """Runs along one axis, which grow in number while a search goes on; kept on Ctrl-C.

    Attributes
    ----------
    run, keys
        The sweep, and its starts [R].
    along : callable or None
        `position -> hyperparameters`, where the axis is a line through several of them.
    runs : Runs or None
        Facts of all that were run so far, ascending, leaves [P, R]; None as long as there are none. Their one
        hyperparameter is the position on the axis, and is called so where that is a line.
    """

    def __init__(self, run: Sweep, keys: chex.PRNGKey, along: Along | None = None):
        self.run, self.keys, self.along = run, keys, along
        self.runs: Runs | None = None

    @property
    def step_sizes(self) -> np.ndarray:
        """Positions on the axis that were run so far, ascending, [P]."""
        return np.zeros(0) if self.runs is None else np.asarray(self.runs.step_sizes)

    def add(self, step_sizes: Any, progress: Progress = None) -> bool:
        """Run further step sizes.

        Parameters
        ----------
        step_sizes
            [S]; those that were run already are left out.
        progress
            As in `Sweep.__call__`.

        Returns
        -------
        bool
            Whether any of them was new.

        Raises
        ------
        Interrupted
            On Ctrl-C; if any run had been finished, all are kept.
        """
        new = np.setdiff1d(np.asarray(step_sizes, float), self.step_sizes)
        if new.size == 0:
            return False
        try:
            self.keep(new, self.run(hyperparams_at(self.along, new), self.keys, progress=progress))
        except Interrupted as interrupted:
            if np.any(np.asarray(interrupted.runs.stopped) != Stop.UNFINISHED):
                self.keep(new, interrupted.runs)
            raise
        return True

    def finished(self) -> Exploration:
        """Leave out the step sizes at which some run was interrupted.

        Returns
        -------
        Exploration
            A new one, without runs where none is left.
        """
        rest = Exploration(self.run, self.keys, self.along)
        if self.runs is not None:
            whole = np.all(np.asarray(self.runs.stopped) != Stop.UNFINISHED, axis=1)
            if whole.any():
                rest.runs = rows(self.runs, whole)
        return rest

    def keep(self, step_sizes: Any, runs: Runs) -> None:
        """Take in runs that were made elsewhere.

        Parameters
        ----------
        step_sizes
            [S], in any order.
        runs
            Facts there, leaves [S, R].

        Raises
        ------
        ValueError
            If they hold other facts than the runs so far, or are being traced.
        """
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(runs)):
            raise ValueError(
                "problem, family: the search stands inside of a trace (jit, vmap, grad) or runs what closes over one, "
                "and has no numbers to search by; call it outside, or gdx.sweep inside"
            )
        # As they were asked for, and not as they were rounded to be run.
        axis = np.repeat(np.asarray(step_sizes, float)[:, None], np.shape(runs.stopped)[1], axis=1)
        named = axis if self.along is None else {POSITION: axis}
        runs = jax.tree.map(np.asarray, runs._replace(hyperparams=named))
        if self.runs is not None:
            if jax.tree.structure(runs) != jax.tree.structure(self.runs):
                raise ValueError("scanned: its runs hold other facts than those of run; pass runs of that sweep")
            runs = jax.tree.map(lambda old, new: np.concatenate([old, new]), self.runs, runs)
        self.runs = rows(runs, np.argsort(runs.step_sizes, kind="stable"))


def explore(
    explored: Exploration, ask: Callable[[Exploration], Any], progress: Progress = None, *, rounds: int = MAX_ROUNDS
) -> None:
    """Ask for points, run them and ask again, until nothing new is asked for.

    Parameters
    ----------
    explored
        Runs so far; it keeps all that are added.
    ask
        `explored -> step sizes [S]`: what the question wants to know next, given all answers so far.
    progress
        As in `Sweep.__call__`, for one round at a time.
    rounds
        At most so many.

    Raises
    ------
    Interrupted
        On Ctrl-C; what was run is kept.
    """
    for _ in range(rounds):
        if not explored.add(ask(explored), progress):
            return


def hyperparams_at(along: Along | None, step_sizes: Any) -> Any:
    """Give the hyperparameters at positions on an axis.

    Parameters
    ----------
    along
        `position -> hyperparameters`, called with one number at a time, outside of any trace; None where the position
        is the one hyperparameter itself.
    step_sizes
        [S], or one.

    Returns
    -------
    pytree
        Leaves [S], or numbers.

    Raises
    ------
    ValueError
        If what it gives is not the same pytree of numbers at all of them.
    """
    if along is None:
        return step_sizes
    with inside("along"):
        points = [along(float(position)) for position in np.atleast_1d(step_sizes)]
    structure = jax.tree.structure(points[0])
    if structure.num_leaves == 0 or any(jax.tree.structure(point) != structure for point in points):
        raise ValueError(f"along: it gives {structure} at first, and not at all; return one pytree of numbers always")
    if any(np.ndim(leaf) for leaf in jax.tree.leaves(points)):
        raise ValueError("along: it gives arrays; return a pytree of single numbers, one a hyperparameter")
    if np.ndim(step_sizes) == 0:
        return jax.tree.map(float, points[0])
    return jax.tree.map(lambda *leaves: np.asarray(leaves, float), *points)
