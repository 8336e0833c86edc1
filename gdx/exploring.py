"""All runs of one search: asked for a few step sizes at a time, kept together, and given back on Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.progress import Progress
from gdx.sweeps import Interrupted, Runs, Stop, Sweep
from gdx.trees import rows

if TYPE_CHECKING:
    import chex


class Exploration:
    """Step sizes and their runs, which grow while a search goes on.

    Attributes
    ----------
    run, keys
        The sweep, and its starts [R].
    step_sizes : array
        All that were run so far, ascending, [P].
    runs : Runs or None
        Facts there, leaves [P, R]; None as long as there are none.
    """

    def __init__(self, run: Sweep, keys: chex.PRNGKey):
        self.run, self.keys = run, keys
        self.step_sizes = np.zeros(0)
        self.runs: Runs | None = None

    def add(self, step_sizes: Any, progress: Progress = None) -> None:
        """Run further step sizes.

        Parameters
        ----------
        step_sizes
            [S]; those that were run already are left out.
        progress
            As in `Sweep.__call__`.

        Raises
        ------
        Interrupted
            On Ctrl-C; if any run had been finished, all are kept.
        """
        new = np.setdiff1d(np.asarray(step_sizes, float), self.step_sizes)
        if new.size == 0:
            return
        try:
            self.keep(new, self.run(new, self.keys, progress=progress))
        except Interrupted as interrupted:
            if np.any(np.asarray(interrupted.runs.stopped) != Stop.UNFINISHED):
                self.keep(new, interrupted.runs)
            raise

    def finished(self) -> Exploration:
        """Leave out the step sizes at which some run was interrupted.

        Returns
        -------
        Exploration
            A new one, without runs where none is left.
        """
        rest = Exploration(self.run, self.keys)
        if self.runs is not None:
            whole = np.all(np.asarray(self.runs.stopped) != Stop.UNFINISHED, axis=1)
            if whole.any():
                rest.keep(self.step_sizes[whole], rows(self.runs, whole))
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
            If they hold other facts than the runs so far.
        """
        step_sizes, runs = np.asarray(step_sizes, float), jax.tree.map(np.asarray, runs)
        if self.runs is not None:
            if jax.tree.structure(runs) != jax.tree.structure(self.runs):
                raise ValueError("scanned: its runs hold other facts than those of run; pass runs of that sweep")
            step_sizes = np.concatenate([self.step_sizes, step_sizes])
            runs = jax.tree.map(lambda old, new: np.concatenate([old, new]), self.runs, runs)
        order = np.argsort(step_sizes, kind="stable")
        self.step_sizes, self.runs = step_sizes[order], rows(runs, order)
