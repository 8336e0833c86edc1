"""From cells of a map to their labels: runs, judged as the criterion wants them, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gdx.maps.axes import Line
from gdx.progress import Progress
from gdx.sweeps import Interrupted, Runs, Stop, Sweep
from gdx.sweeps.runs import STEP_SIZES
from gdx.trees import rows
from gdx.verdicts import Answer, answers, choose_criterion, training_verdicts, verdicts

if TYPE_CHECKING:
    import chex

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
CHUNK = 1 << 16
"""Runs of one call, of which all facts are held at once."""


class Judged(NamedTuple):
    """What is kept of runs, leaves [C, R]."""

    answers: Any
    verdicts: Any
    facts: dict[str, Any]
    observed: dict[str, Any]


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
    ):
        self.sweep_of, self.lines, self.varied, self.keys = sweep_of, lines, varied, keys
        self.criterion, self.tolerance, self.progress = criterion, tolerance, progress
        self.reason, self.num_runs = "", 0
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
                    return self._labels_of(cells, found)
        return self._labels_of(cells, found)

    def _labels_of(self, cells, found):
        return np.where(found >= 0, self.revised().flat[cells], -1)

    def revised(self) -> np.ndarray:
        """Labels of all cells so far, [Y, X], -1 elsewhere."""
        across, down = self.lines
        labels = np.full(across.num_cells * down.num_cells, -1)
        labels[self.cells] = labels_of(self.run_answers())
        return labels.reshape(down.num_cells, across.num_cells)

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
        _check_alike([one.observed for one in (self.whole or self.judged)])

    def _shown(self, done, total):
        progress = self.progress
        if not callable(progress):
            return False
        return lambda finished, _: progress(done + finished, total)


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
    compared = unordered(runs, criterion)
    codes = training_verdicts(compared) if criterion == "trains" else verdicts(runs, tolerance)
    facts = {name: getattr(runs, name) for name in KEPT}
    return Judged(np.asarray(answers(compared, criterion, tolerance)), np.asarray(codes), facts, runs.observed)


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


def labels_of(codes: Any) -> np.ndarray:
    """One answer of all runs of a cell.

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


def _check_alike(observed):
    """Refuse summaries whose shapes depend on a static hyperparameter."""
    first, last = (jax.tree.map(lambda leaf: np.shape(leaf)[2:], observed[at]) for at in (0, -1))
    if first != last:
        raise ValueError(
            "observers: their summaries change shape along a static axis; summarise to numbers, or map each value alone"
        )
