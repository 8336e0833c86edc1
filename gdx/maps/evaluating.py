"""From cells of a map to their labels: runs, judged as the criterion wants them, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from gdx.maps.axes import Line
from gdx.maps.judging import Judged, answer_of, check_alike, joined, judge, unordered, verdict_of, verdicts_of
from gdx.progress import Progress
from gdx.sweeps import Interrupted, Runs, Stop, Sweep
from gdx.trees import rows
from gdx.verdicts import Answer, answers, choose_criterion

if TYPE_CHECKING:
    import chex

CHUNK = 1 << 16
"""Runs of one call, of which all facts are held at once."""


class Cells:
    """Runs of the cells of a map, which grow in number.

    Attributes
    ----------
    criterion
        Its name or a function; None until the first runs have chosen it.
    reason : str
        Why it was chosen.
    interrupted : Interrupted or None
        What ended it.
    num_runs : int
        That were finished.
    """

    def __init__(
        self,
        sweep_of: Callable[[tuple[Any, ...]], Sweep],
        lines: tuple[Line, Line],
        varied: dict[str, Any],
        keys: chex.PRNGKey,
        criterion: Any,
        tolerance: float | None,
        progress: Progress,
        follow: str = "answers",
    ):
        self.sweep_of, self.lines, self.varied, self.keys = sweep_of, lines, varied, keys
        self.criterion, self.tolerance, self.progress = criterion, tolerance, progress
        self.reason, self.num_runs, self.follow = "", 0, follow
        self.interrupted: KeyboardInterrupt | None = None
        self.order: list[np.ndarray] = []
        self.whole: list[Runs] = []
        self.judged: list[Judged] = []

    @property
    def compares(self) -> bool:
        """Whether runs are held against each other, so that all facts of all of them are kept until the end."""
        return self.criterion == "trains" or callable(self.criterion)

    @property
    def cells(self) -> np.ndarray:
        """Those that were run, in the order that they were, [C]."""
        return np.concatenate([np.zeros(0, int), *self.order])

    def __call__(self, cells: Any) -> np.ndarray:
        """Run cells.

        Parameters
        ----------
        cells
            [N], `y * X + x`.

        Returns
        -------
        array
            Labels [N], `Answer` codes; -1 where it was interrupted.
        """
        found, total = np.full(len(cells), -1), len(cells) * len(self.keys)
        done = 0
        for static, members in self.groups(cells):
            size = max(CHUNK // len(self.keys), 1)
            for at in range(0, len(members), size):
                mine = members[at : at + size]
                finished = self._run(static, np.asarray(cells)[mine], self._shown(done, total))
                found[mine[finished]] = 0  # Labelled at the end, since a criterion may compare.
                done += len(mine) * len(self.keys)
                if self.interrupted is not None:
                    return self._answer_of(cells, found)
        return self._answer_of(cells, found)

    def _answer_of(self, cells, found):
        return np.where(found >= 0, self.revised().flat[cells], -1)

    def revised(self) -> np.ndarray:
        """Labels of all cells so far, [Y, X], -1 elsewhere: `Answer` codes and, if followed, three times verdicts."""
        across, down = self.lines
        labels = np.full(across.num_cells * down.num_cells, -1)
        labels[self.cells] = answer_of(self.run_answers())
        if self.follow == "verdicts":
            labels[self.cells] += len(Answer) * verdict_of(self.run_verdicts())
        return labels.reshape(down.num_cells, across.num_cells)

    def run_verdicts(self) -> np.ndarray:
        """Of all runs so far, in the order that they were made, [C, R]."""
        if not self.order:
            return np.zeros((0, len(self.keys)), np.int8)
        if self.compares:
            return verdicts_of(self.all_runs(), self.criterion, self.tolerance)
        return np.concatenate([one.verdicts for one in self.judged])

    def run_answers(self) -> np.ndarray:
        """Of all runs so far, in the order that they were made, [C, R]."""
        if not self.order:
            return np.zeros((0, len(self.keys)), np.int8)
        if self.compares:
            return np.asarray(answers(unordered(self.all_runs(), self.criterion), self.criterion, self.tolerance))
        return np.concatenate([one.answers for one in self.judged])

    def all_runs(self) -> Runs:
        """All facts of all runs, where they are kept, leaves [C, R]."""
        if len(self.whole) > 1:
            self.whole = [joined(self.whole)]
        return self.whole[0]

    def take(self, cells: np.ndarray, judged: Judged | None, runs: Runs | None) -> None:
        """Take in what is known of cells already.

        Parameters
        ----------
        cells
            [C].
        judged, runs
            What is kept of their runs, or all facts where runs are compared.
        """
        self.order.append(cells)
        if runs is not None:
            self.whole.append(runs)
        elif judged is not None:
            self.judged.append(judged)

    def summary(self) -> Judged:
        """What is kept of all runs, in the order of `cells`."""
        if not self.compares:
            return joined(self.judged)
        runs = self.all_runs()
        return judge(runs, self.criterion, self.tolerance)

    def groups(self, cells: Any) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
        """Give the indices of cells that one program runs, each with its static hyperparameters."""
        across, down = self.lines
        places = np.unravel_index(np.asarray(cells), (down.num_cells, across.num_cells))
        codes = np.zeros(len(cells), int)
        for line, index in zip((down, across), places, strict=True):
            if line.axis.static:
                codes = codes * line.num_cells + index
        for code in np.unique(codes):
            members = np.flatnonzero(codes == code)
            yield self._static_of(places, members[0]), members

    def _static_of(self, places, member):
        pairs = zip((self.lines[1], self.lines[0]), places, strict=True)
        return tuple(
            (line.axis.name, (line.axis.values or ())[index[member]]) for line, index in pairs if line.axis.static
        )

    def hyperparams(self, cells: Any) -> dict[str, Any]:
        """What cells are run at, but for what is static, leaves [N]."""
        across, down = self.lines
        at = np.unravel_index(np.asarray(cells), (down.num_cells, across.num_cells))
        pairs = ((across, at[1]), (down, at[0]))
        varied = {line.axis.name: line.positions[index] for line, index in pairs if not line.axis.static}
        return varied | {name: np.full(len(cells), float(value)) for name, value in self.varied.items()}

    def _run(self, static, cells, progress):
        """Run cells and keep what is to be kept; which of them were finished, [n]."""
        try:
            runs = self.sweep_of(static)(self.hyperparams(cells), self.keys, progress=progress)
        except Interrupted as interrupted:
            self.interrupted, runs = interrupted, interrupted.runs
        except KeyboardInterrupt as interrupted:
            self.interrupted = interrupted
            return np.zeros(0, int)
        refuse_traced(runs)
        finished = np.flatnonzero(np.all(np.asarray(runs.stopped) != Stop.UNFINISHED, axis=1))
        if finished.size < len(cells):
            runs = rows(jax.tree.map(np.asarray, runs), finished)
        if finished.size:
            self._keep(cells[finished], runs, static)
        return finished

    def _keep(self, cells, runs, static):
        self.num_runs += np.size(runs.stopped)
        if self.criterion is None:
            problem = self.sweep_of(static).problem
            self.criterion, self.reason = choose_criterion(problem, runs, self.tolerance)
        if self.compares:
            self.take(cells, None, runs)
        else:
            self.take(cells, judge(runs, self.criterion, self.tolerance), None)
        check_alike([one.observed for one in (self.whole or self.judged)])

    def _shown(self, done, total):
        progress = self.progress
        if not callable(progress):
            return False
        return lambda finished, _: progress(done + finished, total)


def refuse_traced(tree: Any) -> None:
    """Refuse what has no numbers to go by.

    Parameters
    ----------
    tree
        Keys or runs.

    Raises
    ------
    ValueError
        Inside of a trace.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree)):
        raise ValueError(
            "problem, family, keys: the map stands inside of a trace (jit, vmap, grad) or runs what closes over one, "
            "and has no numbers to go by; call it outside, or gdx.sweep inside"
        )
